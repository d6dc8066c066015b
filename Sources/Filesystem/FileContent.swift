import Basics
import ObjectStore
import ReadPath
import Synchronization
import SystemPackage
import WritePath

/// The bytes of one file while it is open, or while it holds what could not be sent: shared by all its handles.
///
/// Thread-safe. Its mutex is taken after the tree's and before that of a `StagedFile`; never held across I/O.
final class FileContent: Sendable {
  struct State {
    /// The inode it belongs to.
    var inode: InodeID?
    /// The version that reads without staged bytes see; nil for a file that was never uploaded.
    var version: FileVersion?
    /// The bytes being written.
    var staged: StagedFile?
    /// Open handles.
    var opens = 0
    /// Grows when somebody else's version takes the place of ours: handles of before are stale.
    var epoch = 0
    /// Time of the last write that was not uploaded yet.
    var modified: Timestamp?
    /// Attributes were set that go with the next upload.
    var attributesPending = false
    /// The modification time was set by a program and must not be replaced by that of the upload.
    var timeIsExplicit = false
    /// Unlinked: nothing of it goes to the bucket any more.
    var orphaned = false
    /// For a file without a version: the one its name had before it was renamed over it, which its upload replaces.
    var replaces: ETag?
    /// The version is the empty object that an exclusive creation made.
    var isPlaceholder = false
    /// An upload failed, and may have been applied all the same: a file without a version may have an object.
    var mayExist = false
    var background = BackgroundUpload()
    /// Uploads whose end the tree does not know yet: the bytes may be in the bucket, and the version not here.
    var uploads = 0
    /// Why the last upload failed; nil when it did not.
    var trouble: UploadTrouble?
  }

  /// What the queue of uploads knows of it.
  struct BackgroundUpload {
    /// Waits in the queue.
    var isQueued = false
    /// Stops the upload under way.
    var cancellation: Cancellation?
    /// Uploads that failed since the last that did not.
    var failures = 0
    /// Why the last one failed: returned by every fsync until one succeeds.
    var error: Errno?
    /// That error was not told to any program yet.
    var isUntold = false

    mutating func noteSuccess() {
      failures = 0
      error = nil
      isUntold = false
    }
  }

  private let state: Mutex<State>
  /// Noted here so that no write needs the tree to know.
  private let privileged = Atomic(false)
  /// Only one thread turns a clean file into a staged one.
  let staging = AccessGate()

  init(inode: InodeID? = nil, version: FileVersion?) {
    state = Mutex(State(inode: inode, version: version))
  }

  func withState<Value: Sendable>(_ body: (inout State) -> Value) -> Value {
    state.withLock { body(&$0) }
  }

  /// Whether its file has a bit that a write takes away. Kept up to date by the tree.
  var mayHavePrivileges: Bool { privileged.load(ordering: .relaxed) }

  func note(_ posix: PosixAttributes) { privileged.store(posix.hasPrivileges, ordering: .relaxed) }

  var staged: StagedFile? { state.withLock { $0.staged } }
  var version: FileVersion? { state.withLock { $0.version } }
  var isOrphaned: Bool { state.withLock { $0.orphaned } }

  /// Whether the bucket lacks something of it.
  var isDirty: Bool {
    state.withLock { state in
      guard !state.orphaned else { return false }
      return state.attributesPending || (state.staged?.isDirty ?? false)
    }
  }

  /// Whether a write failed, so that the file is not whole and will never be uploaded as it is.
  var isBroken: Bool { state.withLock { $0.staged?.failure != nil } }

  /// The version that the bucket has under its name, as far as is known: its own, or the one its upload will replace.
  var objectVersion: ETag? { state.withLock { $0.objectVersion } }

  /// Whether there may be an object under its name.
  var mayHaveObject: Bool { state.withLock { $0.objectVersion != nil || $0.mayExist } }

  /// Whether a program was told that it will get into the bucket, and it is not there.
  var awaitsUpload: Bool { isDirty && (staged?.isRecorded ?? false) }

  /// Stops an upload in the background: its bytes are about to be of no use.
  func cancelBackgroundUpload() {
    state.withLock { $0.background.cancellation }?.cancel()
  }

  /// Whether what is known here counts more than what the bucket says.
  var isLocal: Bool {
    state.withLock { state in
      state.orphaned || state.version == nil || state.attributesPending || (state.staged?.isDirty ?? false)
    }
  }

  /// Length in bytes as a program sees it.
  var size: UInt64 {
    state.withLock { $0.staged?.size ?? $0.version?.size ?? 0 }
  }
}

extension FileContent.State {
  var objectVersion: ETag? { version?.etag ?? replaces }

  /// Goes over to somebody else's version, which was seen since, unless something here is unsent: it is the one that is
  /// read from now on, and the handles of before are stale.
  /// - Returns: a staged file to discard.
  mutating func renew(to known: FileVersion) -> StagedFile? {
    let isClean = !orphaned && !(staged?.isDirty ?? false) && !attributesPending
    // A write that is on its way to the staged file must fail, not vanish with it.
    guard isClean, version?.etag != known.etag, staged?.retireIfClean() ?? true else { return nil }
    if opens > 0 || staged != nil { epoch += 1 }
    version = known
    // An empty object of ours may go with a rename; this is somebody's.
    isPlaceholder = false
    defer { staged = nil }
    return staged
  }
}

/// An open file. Thread-safe.
final class FileHandle: Sendable {
  let inode: InodeID
  let content: FileContent
  let mode: OpenMode
  /// `FileContent.State.epoch` at the time of the open.
  let epoch: Int
  /// Who answers its reads.
  let admission: PassthroughTable.Admission
  /// Whether bytes were written through it: then its close must not hide that they went elsewhere.
  private let wrote = Atomic(false)
  /// The reader, made at the first read, and the version it is pinned to.
  private let reader = Mutex<(reader: ObjectReader, etag: ETag)?>(nil)

  init(
    inode: InodeID, content: FileContent, mode: OpenMode, epoch: Int, admission: PassthroughTable.Admission = .asked
  ) {
    self.inode = inode
    self.content = content
    self.mode = mode
    self.epoch = epoch
    self.admission = admission
  }

  var hasWritten: Bool { wrote.load(ordering: .relaxed) }

  /// Whether the bytes that were written through it are under another name, since somebody else changed the object.
  var isDisowned: Bool { hasWritten && content.withState { $0.orphaned && $0.epoch != epoch } }

  func noteWrite() { wrote.store(true, ordering: .relaxed) }

  /// The reader for a version; one for a version of before is closed. Nil when `open` finds no object to read.
  func reader(for version: FileVersion, open: () -> ObjectReader?) -> ObjectReader? {
    if let reader = reader.withLock({ $0?.etag == version.etag ? $0?.reader : nil }) { return reader }
    guard let made = open() else { return nil }
    let (use, close): (ObjectReader, ObjectReader?) = reader.withLock { current in
      if let current, current.etag == version.etag { return (current.reader, made) }
      defer { current = (made, version.etag) }
      return (made, current?.reader)
    }
    close?.close()
    return use
  }

  /// Tells the reader that its object is about to move; `relocate` or `cancelMove` on the result must follow.
  func prepareMove(from old: ETag) -> ObjectReader? {
    let moving = reader.withLock { $0?.etag == old ? $0?.reader : nil }
    moving?.prepareToRelocate()
    return moving
  }

  /// The bytes the reader is pinned to live under another key and tag now.
  func relocate(to key: ObjectKey, from old: ETag, to etag: ETag) {
    let moved: ObjectReader? = reader.withLock { current in
      guard let reader = current?.reader, current?.etag == old else { return nil }
      current = (reader, etag)
      return reader
    }
    moved?.relocate(to: key, etag: etag)
  }

  func close() {
    let last = reader.withLock { current in
      defer { current = nil }
      return current?.reader
    }
    last?.close()
  }
}
