import Basics
import ObjectStore
import Synchronization
import SystemPackage
import WritePath

/// A file of an earlier mount.
struct LeftFile: Sendable {
  var file: PendingFile
  var staged: StagedFile

  init(_ file: PendingFile, _ context: StagingContext) {
    self.file = file
    staged = StagedFile(resuming: file, context: context)
  }

  /// Nobody needs it any more.
  func drop() {
    staged.forgetRecord()
    staged.discard()
  }
}

/// Files of one key that earlier mounts left, to be sent in the order in which they were closed. Thread-safe.
final class LeftFiles: Sendable {
  struct State: Sendable {
    /// The next one to be sent first.
    var files: ArraySlice<LeftFile>
    /// Tries that failed since the last that did not.
    var failures = 0
    /// Why the last one failed.
    var error: Errno?
    var trouble: UploadTrouble?
  }

  let key: ObjectKey
  /// Who sends one; held across requests.
  let sending = AccessGate()
  private let state: Mutex<State>

  init(key: ObjectKey, _ files: [LeftFile]) {
    self.key = key
    state = Mutex(State(files: files[...]))
  }

  func withState<Value: Sendable>(_ body: (inout State) -> Value) -> Value { state.withLock { body(&$0) } }

  var first: LeftFile? { withState { $0.files.first } }
}

/// What earlier mounts left and the bucket does not have yet, and what nobody will send any more. Thread-safe.
final class LeftBook: Sendable {
  /// Held alone from the moment in which the book is filled until it is known what is to be sent.
  let takingUp = AccessGate()
  private let groups = Mutex<[LeftFiles]>([])
  /// Whether each still has what somebody else put there.
  private let stranded = Mutex<[ObjectKey: Bool]>([:])

  /// Objects whose changes this mount has given up (`Filesystem.strand`): the journal keeps them.
  var givenUp: [ObjectKey] { stranded.withLock { Array($0.keys) } }

  func giveUp(_ key: ObjectKey) { stranded.withLock { $0[key] = true } }

  /// This mount has stored an object: whoever reads it finds that, and not what its given-up change was made to.
  func noteStored(_ key: ObjectKey) { stranded.withLock { if $0[key] != nil { $0[key] = false } } }

  /// Whether somebody else's version stands where a change of this mount was to be.
  func isInConflict(_ key: ObjectKey) -> Bool { stranded.withLock { $0[key] ?? false } }

  /// All that is not sent yet.
  var all: [LeftFiles] { groups.withLock { $0.filter { $0.first != nil } } }

  func add(_ more: [LeftFiles]) { groups.withLock { $0 += more } }

  /// Forgets what has been sent.
  func tidy() { groups.withLock { $0.removeAll { $0.first == nil } } }
}
