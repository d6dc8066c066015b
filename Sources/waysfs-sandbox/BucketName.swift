/// The control plane's rule for names: 3 to 63 characters, lowercase letters, digits and hyphens.
enum BucketName {
  /// What is wrong with a name, in one sentence; nil when nothing is.
  static func problem(with name: String) -> String? {
    let bytes = Array(name.utf8)
    guard (3...63).contains(bytes.count) else { return "A bucket name has 3 to 63 characters." }
    guard bytes.allSatisfy(isAllowed) else {
      return "A bucket name has lowercase letters, digits and hyphens only."
    }
    // S3 refuses these, so the control plane would create a bucket that nobody can reach.
    let hyphen = UInt8(ascii: "-")
    guard bytes.first != hyphen, bytes.last != hyphen else {
      return "A bucket name does not begin or end with a hyphen."
    }
    return nil
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): true
    default: false
    }
  }
}
