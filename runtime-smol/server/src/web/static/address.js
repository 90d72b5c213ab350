// Parts of addresses.

// A name in an address, as it was written; a percent sign that begins no escape stands for itself.
export function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
