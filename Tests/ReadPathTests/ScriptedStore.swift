import Basics
import ObjectStore
import Synchronization

/// Contents that can be made at any offset without keeping them: a table of odd length, repeated from a start that
/// differs with the seed.
struct Contents: Sendable {
  private static let table: [UInt8] = {
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    return (0..<1_048_583).map { _ in
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return UInt8(truncatingIfNeeded: state >> 24)
    }
  }()

  var seed: UInt64

  /// Calls `body` with the bytes of the range, in pieces.
  func withPieces(_ range: ByteRange, _ body: (UnsafeRawBufferPointer, UInt64) -> Void) {
    Self.table.withUnsafeBytes { table in
      var offset = range.offset
      while offset < range.end {
        let position = Int((offset + seed * 7919) % UInt64(table.count))
        let count = min(table.count - position, Int(range.end - offset))
        body(UnsafeRawBufferPointer(rebasing: table[position..<position + count]), offset)
        offset += UInt64(count)
      }
    }
  }

  func bytes(_ range: ByteRange) -> [UInt8] {
    var bytes: [UInt8] = []
    withPieces(range) { piece, _ in bytes += piece }
    return bytes
  }

  /// Whether `buffers` are exactly the bytes of `range`.
  func matches(_ buffers: [UnsafeRawBufferPointer], _ range: ByteRange) -> Bool {
    var offset = range.offset
    for buffer in buffers {
      var isEqual = true
      withPieces(ByteRange(offset: offset, length: UInt64(buffer.count))) { piece, at in
        let part = UnsafeRawBufferPointer(rebasing: buffer[Int(at - offset)..<Int(at - offset) + piece.count])
        isEqual = isEqual && part.elementsEqual(piece, memcmp: ())
      }
      guard isEqual else { return false }
      offset += UInt64(buffer.count)
    }
    return offset == range.end
  }
}

/// A store whose GETs wait until the test lets them go on, piece by piece and in any order. Thread-safe.
final class ScriptedStore: ObjectStore {
  struct Object: Sendable {
    var etag: ETag
    var size: UInt64
    var contents: Contents
  }

  /// A GET under way.
  final class Get: Sendable {
    struct Progress {
      var hasBegun = false
      var next: UInt64
      var isOver = false
    }

    let request: GetRequest
    let range: ByteRange
    let sink: any ObjectSink
    let cancellation: Cancellation?
    let completion: StoreCompletion<ObjectMetadata>
    let progress: Mutex<Progress>

    init(
      _ request: GetRequest, _ range: ByteRange, _ sink: any ObjectSink, _ cancellation: Cancellation?,
      _ completion: @escaping StoreCompletion<ObjectMetadata>
    ) {
      self.request = request
      self.range = range
      self.sink = sink
      self.cancellation = cancellation
      self.completion = completion
      progress = Mutex(Progress(next: range.offset))
    }
  }

  private struct State {
    var objects: [ObjectKey: Object] = [:]
    var waiting: [Get] = []
    var requests: [GetRequest] = []
    var fetched: UInt64 = 0
    var running = 0
    var peak = 0
    var claimed: Set<ObjectIdentifier> = []
  }

  enum Mode: Sendable {
    /// GETs wait for `deliver`, `finish` and `fail`.
    case scripted
    /// GETs are answered before `get` returns.
    case inline
  }

  let bucket = "scripted"
  let mode: Mode
  /// Signalled with every GET.
  let arrivals: Semaphore = Semaphore()
  private let state = Mutex(State())

  init(_ mode: Mode = .scripted) { self.mode = mode }

  func put(_ key: String, etag: String, size: UInt64, seed: UInt64 = 1) {
    state.withLock {
      $0.objects[ObjectKey(key)] = Object(etag: ETag(etag), size: size, contents: Contents(seed: seed))
    }
  }

  func remove(_ key: String) { state.withLock { $0.objects[ObjectKey(key)] = nil } }

  var waiting: [Get] { state.withLock { $0.waiting } }
  var requests: [GetRequest] { state.withLock { $0.requests } }
  var fetched: UInt64 { state.withLock { $0.fetched } }
  var peak: Int { state.withLock { $0.peak } }
  var ranges: [ByteRange] { requests.compactMap(\.range) }

  func get(
    _ request: GetRequest, into sink: any ObjectSink, _ cancellation: Cancellation?,
    _ completion: @escaping StoreCompletion<ObjectMetadata>
  ) {
    let get = state.withLock { state in
      let range = request.range ?? ByteRange(offset: 0, length: state.objects[request.key]?.size ?? 0)
      let get = Get(request, range, sink, cancellation, completion)
      state.requests.append(request)
      state.waiting.append(get)
      state.running += 1
      state.peak = max(state.peak, state.running)
      return get
    }
    arrivals.signal()
    if mode == .inline { finish(get) }
  }

  /// Takes a GET that no other thread plays the network for.
  func claim() -> Get? {
    state.withLock { state in
      guard let get = state.waiting.first(where: { !state.claimed.contains(ObjectIdentifier($0)) }) else { return nil }
      state.claimed.insert(ObjectIdentifier(get))
      return get
    }
  }

  // MARK: The script

  /// Delivers up to `count` bytes more. False when the GET has ended, perhaps just now because it had to fail.
  @discardableResult
  func deliver(_ get: Get, _ count: UInt64) -> Bool {
    guard let object = begin(get) else { return false }
    let next = get.progress.withLock { $0.next }
    let end = min(get.range.end, object.size)
    let range = ByteRange(offset: next, length: min(count, end - min(next, end)))
    get.progress.withLock { $0.next = range.end }
    state.withLock { $0.fetched += range.length }
    object.contents.withPieces(range) { get.sink.receive($0, at: $1) }
    return true
  }

  /// Delivers the rest and reports success.
  func finish(_ get: Get) {
    guard deliver(get, .max / 2), let object = object(get) else { return }
    end(get, .success(metadata(object)))
  }

  func fail(_ get: Get, _ code: ObjectStoreError.Code) {
    end(get, .failure(ObjectStoreError(code, "scripted")))
  }

  /// Finishes all GETs, also those that come in meanwhile.
  func finishAll() {
    while let get = waiting.first { finish(get) }
  }

  private func object(_ get: Get) -> Object? { state.withLock { $0.objects[get.request.key] } }

  private func metadata(_ object: Object) -> ObjectMetadata {
    ObjectMetadata(size: object.size, etag: object.etag, lastModified: Timestamp(seconds: 0))
  }

  private func begin(_ get: Get) -> Object? {
    if get.cancellation?.isCancelled == true {
      fail(get, .cancelled)
      return nil
    }
    guard let object = object(get) else {
      fail(get, .notFound)
      return nil
    }
    if let etag = get.request.ifMatch, etag != object.etag {
      fail(get, .preconditionFailed)
      return nil
    }
    guard get.range.offset < object.size else {
      fail(get, .invalidRange)
      return nil
    }
    let isFirst = get.progress.withLock { progress in
      defer { progress.hasBegun = true }
      return !progress.hasBegun
    }
    if isFirst {
      let length = min(get.range.end, object.size) - get.range.offset
      get.sink.begin(metadata: metadata(object), range: ByteRange(offset: get.range.offset, length: length))
    }
    return object
  }

  func end(_ get: Get, _ result: Result<ObjectMetadata, ObjectStoreError>) {
    let isFirst = get.progress.withLock { progress in
      defer { progress.isOver = true }
      return !progress.isOver
    }
    guard isFirst else { return }
    state.withLock { state in
      state.waiting.removeAll { $0 === get }
      state.claimed.remove(ObjectIdentifier(get))
      state.running -= 1
    }
    get.completion(result)
  }
}
