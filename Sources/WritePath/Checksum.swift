/// FNV-1a, 64 bits: finds torn and damaged records, and names directories. Not for secrets.
enum Checksum {
  static func of(_ text: String) -> UInt64 {
    text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}
