import Basics
import ObjectStore
import Synchronization
import WritePath

/// A renamed directory whose objects are still in the bucket under its old name, too. Thread-safe.
final class OldNames: Sendable {
  let move: Filesystem.Move
  /// The objects of the old names, as they were when they were copied.
  let copied: [ObjectKey: ListEntry]
  /// What the journal knows of it.
  let noted: JournalIntent?
  private let last = Mutex<UploadTrouble?>(nil)

  init(_ move: Filesystem.Move, _ copied: [ObjectKey: ListEntry], _ noted: JournalIntent?) {
    self.move = move
    self.copied = copied
    self.noted = noted
  }

  /// Why they could not be removed the last time; nil before the first try.
  var trouble: UploadTrouble? { last.withLock { $0 } }

  func note(_ error: ObjectStoreError, at time: Timestamp) {
    last.withLock { $0 = UploadTrouble(.store(error), after: $0, at: time) }
  }
}

/// Those whose removal is tried again. Thread-safe.
final class OldNamesBook: Sendable {
  private let waiting = Mutex<[OldNames]>([])

  var all: [OldNames] { waiting.withLock { $0 } }

  func contains(_ old: OldNames) -> Bool { waiting.withLock { $0.contains { $0 === old } } }

  func add(_ old: OldNames) { waiting.withLock { $0.append(old) } }

  func remove(_ old: OldNames) { waiting.withLock { $0.removeAll { $0 === old } } }
}
