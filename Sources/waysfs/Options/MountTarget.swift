/// What is mounted.
enum MountTarget: Hashable, Sendable, CustomStringConvertible {
  /// A bucket, or the part of it below a prefix.
  case bucket(BucketReference)
  /// Every bucket of the account, each as a directory.
  case account

  /// The bucket; nil where there is not one alone.
  var bucket: BucketReference? {
    switch self {
    case .bucket(let reference): reference
    case .account: nil
    }
  }

  /// In words for people.
  var description: String { bucket?.description ?? "all buckets" }

  /// How df(1) and findmnt(8) show the mount. No bucket can be called `*`.
  var source: String { bucket?.source ?? Self.accountSource }

  static let accountSource = "waysfs:*"
  /// What may stand in fstab, where something must, when everything is mounted.
  static let accountNames: Set<String> = ["*", "none", accountSource]
}
