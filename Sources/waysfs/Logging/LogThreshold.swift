import Logging
import Synchronization

/// How much is logged, by all loggers of one destination; can be changed while they are at work. Thread-safe.
final class LogThreshold: Sendable {
  private static let levels = Logger.Level.allCases
  private let position: Atomic<Int>

  init(_ level: Logger.Level) { position = Atomic(Self.position(of: level)) }

  var level: Logger.Level {
    get { Self.levels[position.load(ordering: .relaxed)] }
    set { position.store(Self.position(of: newValue), ordering: .relaxed) }
  }

  private static func position(of level: Logger.Level) -> Int { levels.firstIndex(of: level) ?? 0 }
}
