/// Whether an answer of a mount's process can be true. Root asks the processes of other users, which may say anything:
/// nothing that they say may end the report of all other mounts, or reach the terminal as a control sequence.
struct Plausibility {
  /// What is shown without being escaped.
  private static let plainWords: Set = ["version", "logLevel", "state", "operation", "writeMode"]
  private static let longestWord = 64

  /// The sum of all numbers; nil when it is too large for one, or one was negative.
  private var sum: UInt64? = 0
  private var arePlain = true

  static func of(_ status: MountStatus) -> Bool {
    var found = Plausibility()
    found.look(at: status, called: "")
    guard found.sum != nil, found.arePlain else { return false }
    guard let report = status.report else { return true }
    return areDifferent(report.buckets.map { [$0.bucket, $0.prefix] })
      && areDifferent(report.operations.map(\.operation))
      && report.buckets.allSatisfy { areDifferent($0.requests.map(\.operation)) }
  }

  private static func areDifferent(_ names: [some Hashable]) -> Bool { Set(names).count == names.count }

  private mutating func look(at value: Any, called name: String) {
    switch value {
    case let word as String: if Self.plainWords.contains(name), !Self.isPlain(word) { arePlain = false }
    case let number as UInt64: add(number)
    case let number as Int: add(UInt64(exactly: number))
    case let number as Int32: add(UInt64(exactly: number))
    case let number as Double: if !(number >= 0 && number <= 1e15) { sum = nil }
    default: for child in Mirror(reflecting: value).children { look(at: child.value, called: child.label ?? name) }
    }
  }

  /// With so much room that any sum of some of them can be formed.
  private mutating func add(_ number: UInt64?) {
    guard let number, let (total, overflow) = sum?.addingReportingOverflow(number), !overflow, total <= .max / 4 else {
      sum = nil
      return
    }
    sum = total
  }

  private static func isPlain(_ word: String) -> Bool {
    word.utf8.count <= longestWord && word.utf8.allSatisfy { (0x20...0x7E).contains($0) }
  }
}
