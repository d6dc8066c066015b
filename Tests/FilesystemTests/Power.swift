import ObjectStore
import Synchronization
import SystemPackage

@testable import WritePath

/// Cuts a daemon off from its journal's disk and from the bucket after a number of steps, as its death would. Thread-safe.
final class Power: Sendable {
  private struct State {
    var left: Int
    var isDead = false
    var end = ""
    var endsWithRequest = false
  }

  /// Whether the step at which it ends is still done, and only its answer lost.
  private let losesAnswer: Bool
  private let state: Mutex<State>

  /// Lasts for `steps` changes of the journal's directory or the bucket.
  init(steps: Int, losesAnswer: Bool = false) {
    self.losesAnswer = losesAnswer
    state = Mutex(State(left: steps))
  }

  var isDead: Bool { state.withLock { $0.isDead } }

  /// Whether it ended with something that the bucket was asked for.
  var endsWithRequest: Bool { state.withLock { $0.endsWithRequest } }

  /// The step it did not last for.
  var end: String { state.withLock { $0.end } }

  /// - Returns: whether there is power for the step, and whether it is the last.
  private func step(_ what: @autoclosure () -> String, isRequest: Bool) -> (isAlive: Bool, isLast: Bool) {
    state.withLock { state in
      if state.isDead { return (false, false) }
      guard state.left > 0 else {
        state.isDead = true
        state.end = what()
        state.endsWithRequest = isRequest
        return (false, true)
      }
      state.left -= 1
      return (true, false)
    }
  }

  var disk: JournalDisk {
    JournalDisk(onStep: { step throws(Errno) in
      guard self.step("\(step)", isRequest: false).isAlive else { throw .ioError }
    })
  }

  var rule: FailingObjectStore.Rule {
    { operation in
      if self.isDead { return .fail(.connectionFailed) }
      guard ![.head, .headBucket, .get, .list, .listParts, .listUploads].contains(operation.kind) else { return nil }
      let (isAlive, isLast) = self.step(
        "\(operation.kind) \(operation.key?.string ?? "")\(self.losesAnswer ? ", done" : "")", isRequest: true)
      if isAlive { return nil }
      return isLast && self.losesAnswer ? .loseAnswer(.connectionFailed) : .fail(.connectionFailed)
    }
  }
}
