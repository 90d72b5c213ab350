//! The server's side of a handshake, from C0 to the end of C2: what every connection costs before it says anything.

use anabranch_core::handshake::{ClientHandshake, ClientHandshakeKind, Kind, ServerHandshake, Status};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// C0 and C1, and a C2 that answers no S1 in particular: servers do not check it.
fn client(kind: ClientHandshakeKind) -> Vec<u8> {
    let mut bytes = Vec::new();
    ClientHandshake::new([1; 32], 0, kind).start(&mut bytes);
    bytes.extend_from_slice(&[0x5c; 1536]);
    bytes
}

fn serve(bytes: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    out.clear();
    let mut server = ServerHandshake::new([2; 32], 0);
    let progress = server.read(bytes, out).expect("it is a handshake");
    assert_eq!(progress.status, Status::Done);
    server.kind()
}

fn handshake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    let mut out = Vec::with_capacity(3073);
    for (name, kind) in [("simple", ClientHandshakeKind::Simple), ("digest", ClientHandshakeKind::Digest)] {
        let bytes = client(kind);
        assert_eq!(serve(&bytes, &mut out).expect("it is over") == Kind::Simple, kind == ClientHandshakeKind::Simple);
        group.bench_function(name, |bencher| bencher.iter(|| serve(&bytes, &mut out)));
    }
    group.finish();
}

criterion_group!(benches, handshake);
criterion_main!(benches);
