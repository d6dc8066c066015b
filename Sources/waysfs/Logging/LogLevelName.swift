import Logging

/// The names of the levels, as the user writes them.
enum LogLevelName {
  /// From the most to the least talkative.
  static let all: [String] = Logger.Level.allCases.map(\.rawValue).filter { $0 != "critical" }

  static func parse(_ text: String) throws(UsageError) -> Logger.Level {
    if let level = Logger.Level(rawValue: text.lowercased()) { return level }
    let hint = nearestName(to: text.lowercased(), among: all).map { "; did you mean '\($0)'?" } ?? ""
    throw UsageError("'\(text)' is not a level (\(all.joined(separator: ", ")))\(hint)")
  }
}
