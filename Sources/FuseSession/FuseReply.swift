import Basics
import CFuse
import Filesystem
import Glibc
import Synchronization
import SystemPackage

/// The one answer a request of the kernel waits for.
///
/// Consumed by exactly one of its methods; dropped unanswered it answers EIO, so that no caller hangs. Any thread.
struct FuseReply: ~Copyable, @unchecked Sendable {
  // Sendable: libfuse lets a request be answered from any thread, and only its owner has this value.
  private var request: waysfs_request?
  private let connection: FuseConnection
  private let meter: OperationMeter?
  private let cancellation: Cancellation?

  /// Takes charge of a request. An interruptible one pays for a cancellation: only for calls that may block.
  init(
    _ request: waysfs_request, _ connection: FuseConnection, _ operation: FuseOperation, interruptible: Bool = false
  ) {
    self.request = request
    self.connection = connection
    meter = connection.metrics?.begin(operation)
    guard interruptible else {
      cancellation = nil
      return
    }
    let cancellation = Cancellation()
    self.cancellation = cancellation
    waysfs_request_watch(request, Unmanaged.passUnretained(cancellation).toOpaque())
    if waysfs_request_interrupted(request) { cancellation.cancel() }
  }

  deinit {
    guard let request else { return }
    if cancellation != nil { waysfs_request_unwatch(request) }
    connection.log.error("a request was dropped without an answer; its caller sees EIO")
    _ = waysfs_reply_error(request, EIO)
  }

  /// Who calls.
  var context: CallContext {
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    if let request { waysfs_request_caller(request, &uid, &gid) }
    return CallContext(uid: uid, gid: gid, cancellation: cancellation)
  }

  /// Whether the process asks that sees whether the mount answers.
  var isOwn: Bool {
    guard let request, let asker = connection.asker else { return false }
    return asker.isSender(pid: waysfs_request_process(request))
  }

  /// Answers with what `send` sends; returns whether that reached the caller.
  private consuming func answer(_ send: (waysfs_request) -> Int32) -> Bool {
    guard let request = request.take() else { return false }
    // Before the reply: after it the request, and soon the cancellation, are gone.
    if cancellation != nil { waysfs_request_unwatch(request) }
    meter?.end()
    return send(request) == 0
  }

  /// Answers with an error.
  consuming func fail(_ error: Errno) {
    // libfuse takes 1 to 999; 0 would be a success without its data.
    let code = (1..<1000).contains(error.rawValue) ? error.rawValue : EIO
    _ = answer { waysfs_reply_error($0, code) }
  }

  /// Answers that it is done.
  consuming func done() {
    _ = answer { waysfs_reply_error($0, 0) }
  }

  /// Answers a lookup, and gives its count back when the caller did not wait for it.
  consuming func entry(_ entry: EntryReply) {
    let connection = connection
    var answerEntry = waysfs_entry(entry)
    if !answer({ waysfs_reply_entry($0, &answerEntry) }) { connection.giveBack(entry) }
  }

  /// Answers a create, and takes everything back when the caller did not wait for it.
  consuming func created(_ entry: EntryReply, _ open: OpenReply) {
    let connection = connection
    var answerEntry = waysfs_entry(entry)
    var answerOpen = waysfs_open(open)
    if !answer({ waysfs_reply_create($0, &answerEntry, &answerOpen) }) {
      connection.operations.release(open.handle)
      connection.giveBack(entry)
    }
  }

  /// Answers an open, and releases the handle when the caller did not wait for it.
  consuming func opened(_ open: OpenReply) {
    let connection = connection
    var answerOpen = waysfs_open(open)
    if !answer({ waysfs_reply_open($0, &answerOpen) }) { connection.operations.release(open.handle) }
  }

  /// Answers an opendir, and releases the handle when the caller did not wait for it.
  consuming func openedDirectory(_ handle: HandleID) {
    let connection = connection
    var answerOpen = waysfs_open(handle: handle.value, keep_cache: false, direct_io: false, backing: 0)
    if !answer({ waysfs_reply_open($0, &answerOpen) }) { connection.operations.releaseDirectory(handle) }
  }

  /// Answers with attributes.
  consuming func attributes(_ reply: AttributeReply) {
    var attributes = waysfs_attributes(reply.attributes)
    _ = answer { waysfs_reply_attributes($0, &attributes, reply.lifetime) }
  }

  /// Answers a read. More than the `limit` bytes asked for are an EIO: which of them were meant nobody knows.
  consuming func data(_ data: ReadBuffers, limit: Int) {
    let buffers = data.buffers
    guard buffers.reduce(0, { $0 + $1.count }) <= limit else {
      connection.log.error("a read was answered with more bytes than were asked for; its caller sees EIO")
      return fail(.ioError)
    }
    switch buffers.count {
    case 0: bytes(UnsafeRawBufferPointer(start: nil, count: 0))
    case 1: bytes(buffers[0])
    case ...Int(WAYSFS_REPLY_VECTOR_LIMIT):
      _ = answer { request in
        withVector(of: buffers) { waysfs_reply_vector(request, $0, Int32(buffers.count)) }
      }
    default: bytes(joining: buffers)
    }
  }

  /// Answers with bytes in one piece; returns whether they reached the caller.
  @discardableResult
  consuming func bytes(_ bytes: UnsafeRawBufferPointer) -> Bool {
    answer { waysfs_reply_data($0, bytes.baseAddress, bytes.count) }
  }

  /// Answers with more pieces than the kernel takes at once.
  private consuming func bytes(joining buffers: [UnsafeRawBufferPointer]) {
    var joined: [UInt8] = []
    for buffer in buffers { joined.append(contentsOf: buffer) }
    _ = answer { request in joined.withUnsafeBytes { waysfs_reply_data(request, $0.baseAddress, $0.count) } }
  }

  /// Answers a write.
  consuming func written(_ count: Int) {
    _ = answer { waysfs_reply_write($0, count) }
  }

  /// Answers a `warm`.
  consuming func warmed(_ bytes: UInt64) {
    _ = answer { waysfs_reply_warm($0, bytes) }
  }

  /// Answers a readlink.
  consuming func link(_ target: String) {
    _ = answer { request in target.withCString { waysfs_reply_link(request, $0) } }
  }

  /// Answers a getxattr or listxattr.
  /// - Parameter room: how much the caller takes; 0 asks for the length only.
  consuming func attribute(_ value: String, room: Int) {
    var value = value
    _ = answer { request in value.withUTF8 { waysfs_reply_attribute(request, $0.baseAddress, $0.count, room) } }
  }

  /// Answers a statfs.
  consuming func statistics(_ statistics: FilesystemStatistics) {
    var answerStatistics = waysfs_statistics(
      block_size: statistics.blockSize, blocks: statistics.blocks, free_blocks: statistics.freeBlocks,
      files: statistics.files, free_files: statistics.freeFiles)
    _ = answer { waysfs_reply_statistics($0, &answerStatistics) }
  }
}

private func withVector(of buffers: [UnsafeRawBufferPointer], _ body: (UnsafePointer<iovec>) -> Int32) -> Int32 {
  let vector = buffers.map { iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count) }
  return vector.withUnsafeBufferPointer { elements in elements.baseAddress.map(body) ?? EIO }
}

/// A reply that a completion on another thread will give. Thread-safe; whoever takes it first has it, and one that
/// nobody took answers EIO when the completion is dropped.
final class PendingReply: Sendable {
  private let reply: Mutex<FuseReply?>

  init(_ reply: consuming FuseReply) { self.reply = Mutex(reply) }

  /// The reply, once.
  func take() -> FuseReply? { reply.withLock { $0.take() } }
}
