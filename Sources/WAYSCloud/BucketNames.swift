/// Checks a bucket name by the service's rule: 3 to 63 characters, lowercase letters, digits and hyphens.
///
/// It also keeps a name from changing the meaning of the address it is put into.
func checkBucketName(_ name: String) throws(ControlPlaneError) {
  let allowed = name.utf8.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): true
    default: false
    }
  }
  guard allowed, (3...63).contains(name.utf8.count) else {
    throw ControlPlaneError(
      .invalidName, "A bucket name has 3 to 63 characters: lowercase letters, digits and hyphens.")
  }
}
