//! The answer of each route.

use std::collections::BTreeMap;
use std::time::Instant;

use anabranch_core::hub::{HeldBy, StreamSnapshot};
use anabranch_core::url::shortened;
use anabranch_host::ConnectionInfo;
use hyper::StatusCode;
use serde::Serialize;
use tracing::info;

use super::context::{Context, now_ms};
use super::listing::{self, Listing};
use super::machine::{Process, System};
use super::reply::Reply;
use super::routes::{Call, ROUTES};
use super::shapes::{
    Clients, Closes, Done, Envelope, Index, OneClient, OneStream, OneVhost, ProcessSummary, Reloaded, SettingInForce,
    SettingsInForce, Streams, Summaries, Summary, SystemSummary, Version, Versions, Vhosts,
};
use super::{metrics as exposition, openapi as interface, rtc};
use crate::settings::ShownValue;

/// SRS's codes for an unknown virtual host, stream and client.
pub(super) const NO_VHOST: u32 = 2014;
pub(super) const NO_STREAM: u32 = 2048;
pub(super) const NO_CLIENT: u32 = 2049;

/// An answer with status 200.
pub(super) fn json<T: Serialize>(context: &Context, content: T) -> Reply {
    json_with(context, StatusCode::OK, content)
}

/// An answer with that status.
pub(super) fn json_with<T: Serialize>(context: &Context, status: StatusCode, content: T) -> Reply {
    let identity = &context.identity;
    let (server, service) = (identity.server_id().to_owned(), identity.service_id().to_owned());
    let pid = context.pid.clone();
    Reply::json(&Envelope { code: 0, server, service, pid, content }).with_status(status)
}

fn unknown(code: u32, words: &str) -> Reply {
    Reply::error(StatusCode::NOT_FOUND, code, words)
}

pub(super) fn index(context: &Context, _: &Call<'_>) -> Reply {
    let mut urls: BTreeMap<String, String> = BTreeMap::new();
    for route in ROUTES {
        let line = format!("{} {}", route.method, route.summary);
        urls.entry(route.path.to_owned()).and_modify(|lines| *lines = format!("{lines}; {line}")).or_insert(line);
    }
    json(context, Index { urls })
}

pub(super) fn versions(context: &Context, _: &Call<'_>) -> Reply {
    let number = |text: &str| text.parse().unwrap_or_default();
    let data = Version {
        major: number(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: number(env!("CARGO_PKG_VERSION_MINOR")),
        revision: number(env!("CARGO_PKG_VERSION_PATCH")),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        program: "anabranch".to_owned(),
    };
    json(context, Versions { data })
}

pub(super) fn summaries(context: &Context, _: &Call<'_>) -> Reply {
    let stats = context.handle.stats();
    let totals = context.handle.totals();
    let looked = Process::look();
    let (process, system) = (looked.unwrap_or_default(), System::look());
    let mut meter = context.cpu.borrow_mut();
    let share = |part: u64, whole: u64| if whole > 0 { part as f64 / whole as f64 } else { 0.0 };
    let now_ms = now_ms();
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let data = Summary {
        ok: looked.is_some(),
        now_ms,
        process: ProcessSummary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            ppid: process.parent,
            argv: std::env::args_os().next().unwrap_or_default().to_string_lossy().into_owned(),
            cwd: std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned(),
            mem_kbyte: process.resident_kib,
            mem_percent: share(process.resident_kib, system.memory_kib),
            cpu_percent: meter.process(Instant::now(), process.cpu),
            srs_uptime: stats.age.as_secs(),
            draining: context.handle.is_leaving(),
            stream_memory: stats.memory.held,
            stream_memory_limit: stats.memory.limit,
        },
        system: SystemSummary {
            cpu_percent: meter.system(),
            disk_read_kbps: 0,
            disk_write_kbps: 0,
            disk_busy_percent: 0.0,
            mem_ram_kbyte: system.memory_kib,
            mem_ram_percent: share(system.memory_kib.saturating_sub(system.available_kib), system.memory_kib),
            mem_swap_kbyte: system.swap_kib,
            mem_swap_percent: share(system.swap_kib.saturating_sub(system.free_swap_kib), system.swap_kib),
            cpus,
            cpus_online: cpus,
            uptime: system.uptime,
            ilde_time: system.idle,
            load_1m: system.load[0],
            load_5m: system.load[1],
            load_15m: system.load[2],
            net_sample_time: now_ms,
            net_recv_bytes: system.net_bytes[0],
            net_send_bytes: system.net_bytes[1],
            net_recvi_bytes: system.local_bytes[0],
            net_sendi_bytes: system.local_bytes[1],
            srs_sample_time: now_ms,
            srs_recv_bytes: totals.bytes_in,
            srs_send_bytes: totals.bytes_out,
            conn_sys: system.tcp,
            conn_sys_et: system.tcp,
            conn_sys_tw: system.time_wait,
            conn_sys_udp: system.udp,
            conn_srs: stats.connections,
        },
    };
    json(context, Summaries { data })
}

pub(super) fn vhosts(context: &Context, _: &Call<'_>) -> Reply {
    json(context, Vhosts { vhosts: listing::vhosts(&context.handle) })
}

pub(super) fn vhost(context: &Context, call: &Call<'_>) -> Reply {
    match listing::vhosts(&context.handle).into_iter().find(|vhost| vhost.id == call.id) {
        Some(vhost) => json(context, OneVhost { vhost }),
        None => unknown(NO_VHOST, "there is no such virtual host"),
    }
}

/// The requested part of a list: the number of entries to skip, and to show. 0 shows only the total.
pub(super) fn page(call: &Call<'_>) -> Result<(usize, usize), String> {
    Ok((call.number("start", 0)?, call.number("count", 10)?.min(1000)))
}

pub(super) fn streams(context: &Context, call: &Call<'_>) -> Reply {
    let (start, count) = match page(call) {
        Ok(page) => page,
        Err(words) => return Reply::error(StatusCode::BAD_REQUEST, 400, words),
    };
    let mut list = context.handle.stats().streams;
    let total = list.len();
    list.truncate(start.saturating_add(count));
    let list: Vec<_> = list.into_iter().skip(start).collect();
    json(context, Streams { streams: Listing::of(&context.handle, &list).streams(&list, &context.identity), total })
}

/// The requested stream, if there is one.
fn named(context: &Context, call: &Call<'_>) -> Vec<StreamSnapshot> {
    let streams = context.handle.stats().streams.into_iter();
    streams.filter(|stream| context.identity.stream_id(&stream.key) == call.id).take(1).collect()
}

pub(super) fn stream(context: &Context, call: &Call<'_>) -> Reply {
    let list = named(context, call);
    match Listing::of(&context.handle, &list).streams(&list, &context.identity).pop() {
        Some(stream) => json(context, OneStream { stream }),
        None => unknown(NO_STREAM, "there is no such stream"),
    }
}

pub(super) fn kick_publisher(context: &Context, call: &Call<'_>) -> Reply {
    let list = named(context, call);
    let Some(stream) = list.first() else {
        return unknown(NO_STREAM, "there is no such stream");
    };
    // None takes over from the other one.
    context.handle.hold_back(&stream.key);
    let held = [&stream.backup, &stream.publisher];
    let ids = held.into_iter().filter_map(|held| match held {
        Some(HeldBy::Client { connection, .. }) => Some(*connection),
        _ => None,
    });
    let mut removed = false;
    for id in ids.filter(|id| context.handle.close(*id, "publisher removed through the API")) {
        removed = true;
        let key = &stream.key;
        info!(
            event = "removed",
            conn = id,
            vhost = &*shortened(key.vhost()),
            app = &*shortened(key.app()),
            stream = &*shortened(key.stream()),
            "conn {id}, publisher of {}, is removed through the API",
            key.shown()
        );
    }
    if removed {
        json(context, Done {})
    } else {
        Reply::error(StatusCode::CONFLICT, NO_CLIENT, "no client publishes this stream")
    }
}

pub(super) fn clients(context: &Context, call: &Call<'_>) -> Reply {
    let (start, count) = match page(call) {
        Ok(page) => page,
        Err(words) => return Reply::error(StatusCode::BAD_REQUEST, 400, words),
    };
    let ids = context.handle.connection_ids();
    let page = ids.iter().skip(start).take(count);
    let list = page.filter_map(|id| context.handle.connection(*id));
    let mut by_rtc = rtc::clients(&context.handle);
    let show = |info: ConnectionInfo| {
        let over_rtc = by_rtc.remove(&info.id);
        listing::client(&info, over_rtc, &context.handle, &context.identity)
    };
    let clients = list.map(show).collect();
    json(context, Clients { clients, total: ids.len() })
}

pub(super) fn client(context: &Context, call: &Call<'_>) -> Reply {
    match context.identity.connection(call.id).and_then(|id| context.handle.connection(id)) {
        Some(info) => {
            let over_rtc = rtc::clients(&context.handle).remove(&info.id);
            let client = listing::client(&info, over_rtc, &context.handle, &context.identity);
            json(context, OneClient { client })
        }
        None => unknown(NO_CLIENT, "there is no such client"),
    }
}

pub(super) fn closes(context: &Context, call: &Call<'_>) -> Reply {
    let (start, count) = match page(call) {
        Ok(page) => page,
        Err(words) => return Reply::error(StatusCode::BAD_REQUEST, 400, words),
    };
    let all = context.handle.closes();
    let page = all.iter().skip(start).take(count);
    let closes = page.map(|closed| listing::closed(closed, &context.identity)).collect();
    json(context, Closes { closes, total: all.len() })
}

pub(super) fn kick(context: &Context, call: &Call<'_>) -> Reply {
    match context.identity.connection(call.id) {
        Some(id) if context.handle.close(id, "removed through the API") => {
            info!(event = "removed", conn = id, "conn {id} is removed through the API");
            json(context, Done {})
        }
        _ => unknown(NO_CLIENT, "there is no such client"),
    }
}

pub(super) fn reload(context: &Context, _: &Call<'_>) -> Reply {
    let Some(reload) = &context.reload else {
        return Reply::error(StatusCode::NOT_IMPLEMENTED, 501, "this server has no configuration to read again");
    };
    match reload() {
        Ok(data) => json(context, Reloaded { data }),
        Err(words) => Reply::error(StatusCode::UNPROCESSABLE_ENTITY, 422, words),
    }
}

pub(super) fn settings(context: &Context, _: &Call<'_>) -> Reply {
    let Some(in_force) = &context.in_force else {
        return Reply::error(StatusCode::NOT_IMPLEMENTED, 501, "this server has no configuration to show");
    };
    let shown = |value: ShownValue| {
        let ShownValue { key, value, origin, is_default } = value;
        SettingInForce { key, value, origin, is_default }
    };
    json(context, SettingsInForce { values: in_force().into_iter().map(shown).collect() })
}

pub(super) fn healthz(_: &Context, _: &Call<'_>) -> Reply {
    Reply::text(StatusCode::OK, "ok\n")
}

pub(super) fn readyz(context: &Context, _: &Call<'_>) -> Reply {
    if context.handle.is_leaving() {
        return Reply::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    Reply::text(StatusCode::OK, "ready\n")
}

pub(super) fn metrics(context: &Context, _: &Call<'_>) -> Reply {
    match exposition::exposition(context) {
        Ok(text) => Reply::metrics(text),
        Err(_) => Reply::error(StatusCode::INTERNAL_SERVER_ERROR, 500, "the metrics cannot be written"),
    }
}

pub(super) fn openapi(_: &Context, _: &Call<'_>) -> Reply {
    Reply::json(&interface::document())
}
