/// The buckets of which an earlier mount has left files to be sent, until each is open and knows of them itself: what is
/// in the journal of a bucket that nobody has opened is not in the bucket either. A value.
struct LeftBuckets: Hashable, Sendable {
  /// How many files, by bucket.
  private(set) var files: [String: Int]
  /// The same of buckets that the account does not list; maybe they come back.
  private var unlisted: [String: Int]
  /// Those of which an attempt to open them has failed, and what with: a clause for people.
  private var troubled: [String: String] = [:]

  init(_ files: [String: Int] = [:], unlisted: [String: Int] = [:]) {
    self.files = files
    self.unlisted = unlisted
  }

  /// The buckets.
  var names: [String] { files.keys.sorted() }

  /// The account lists buckets that it did not list before.
  /// - Returns: those that are to be opened now.
  mutating func appeared(_ names: [String]) -> [String] {
    names.filter { name in
      guard let count = unlisted.removeValue(forKey: name) else { return false }
      files[name] = count
      return true
    }
  }

  /// A bucket is open, and knows what it has to send.
  mutating func opened(_ name: String) {
    files[name] = nil
    unlisted[name] = nil
    troubled[name] = nil
  }

  /// A bucket cannot be opened.
  mutating func failed(_ name: String, _ reason: String) {
    if files[name] != nil { troubled[name] = reason }
  }

  /// What is pending there.
  /// - Parameter known: the buckets that have begun to count it themselves.
  func pending(apartFrom known: Set<String>) -> PendingUploads {
    files.reduce(into: .none) { sum, left in
      guard !known.contains(left.key) else { return }
      sum.files += left.value
      guard let reason = troubled[left.key] else { return }
      sum.failed += left.value
      sum.lastError = reason
    }
  }
}
