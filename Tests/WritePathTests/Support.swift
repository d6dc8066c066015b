import Basics
import Glibc
import Logging
import ObjectStore
import SystemPackage

@testable import WritePath

/// A small, fast, seeded generator (xorshift64*).
struct Random: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_f491_4f6c_dd1d
  }

  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(max(1, limit))) }
}

/// Bytes that differ from place to place: one block made by the word, then copied, each copy with its own number.
func bytes(_ count: Int, seed: UInt64) -> [UInt8] {
  let blockSize = 4096
  var random = Random(seed)
  var block: [UInt64] = []
  for _ in 0..<blockSize / 8 { block.append(random.next()) }
  var result = [UInt8](repeating: 0, count: count)
  result.withUnsafeMutableBytes { buffer in
    guard let start = buffer.baseAddress else { return }
    var offset = 0
    while offset < count {
      memcpy(start + offset, block, min(blockSize, count - offset))
      var number = UInt64(offset) &* 0x9e37_79b9_7f4a_7c15 ^ seed
      memcpy(start + offset, &number, min(8, count - offset))
      offset += blockSize
    }
  }
  return result
}

/// memcmp: `==` on arrays is slow in debug builds.
func isSame(_ left: [UInt8]?, _ right: [UInt8]?) -> Bool {
  guard let left, let right else { return left == nil && right == nil }
  return left.count == right.count && memcmp(left, right, left.count) == 0
}

let mebibyte = 1 << 20
let partBytes = Int(PartLayout.firstPartSize)

/// A directory that is removed with the test.
final class TemporaryDirectory: Sendable {
  let path: FilePath

  init() throws {
    var name = Array("/tmp/waysfs-write-XXXXXX\0".utf8CString)
    guard mkdtemp(&name) != nil else { throw Errno(rawValue: errno) }
    path = FilePath(platformString: name)
  }

  deinit { Self.remove(path) }

  private static func remove(_ path: FilePath) {
    if let names = try? FileSystem.names(in: path) {
      for name in names { remove(path.appending(name)) }
      _ = path.withPlatformString { rmdir($0) }
    } else {
      try? FileSystem.remove(path)
    }
  }

  func names(_ folder: String) -> [String] { (try? FileSystem.names(in: path.appending(folder))) ?? [] }
}

/// A store, a staging area and what a staged file needs, for one test.
final class Workbench: Sendable {
  let memory: InMemoryObjectStore
  let store: FailingObjectStore
  let root: TemporaryDirectory
  let journal: Journal
  let workers: SharedWorkers
  let conditions: ConditionalWrites
  let log = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
  let key = ObjectKey("dir/file")

  init(workers limit: Int = 4, options: InMemoryObjectStore.Options = .init(pieceSize: 8 << 20)) throws {
    memory = InMemoryObjectStore(options: options)
    store = FailingObjectStore(wrapping: memory)
    root = try TemporaryDirectory()
    journal = try Journal(root: root.path, name: "bucket", identity: "test")
    workers = SharedWorkers(name: "test", each: limit, isShared: false)
    conditions = ConditionalWrites(store: store, journal: journal, scratchPrefix: "", random: { 7 }, log: log)
  }

  deinit { workers.shutdown() }

  var target: UploadTarget { UploadTarget(key: key, attributes: ObjectAttributes(userMetadata: ["mode": "33188"])) }

  /// An object to start from.
  func object(_ content: [UInt8]) throws -> StagingBase {
    let result = try memory.put(PutRequest(key, body: .bytes(content)))
    return StagingBase(key: key, etag: result.etag, size: UInt64(content.count))
  }

  func staged(_ base: StagingBase? = nil, streams: Bool = false) throws -> StagedFile {
    let target = target
    return StagedFile(
      entry: try journal.makeEntry(), base: base, context: context, streamTarget: { streams ? target : nil })
  }

  var context: StagingContext {
    StagingContext(store: store, workers: workers.share(), memory: ByteBudget(total: 32 << 20), partsAhead: 4, log: log)
  }

  func upload(
    _ file: StagedFile, _ condition: WriteCondition = .none, _ cancellation: Cancellation? = nil
  ) throws(WriteError) -> UploadOutcome {
    try file.upload(UploadOrder(target, condition: condition, conditions: conditions, cancellation))
  }

  var stored: [UInt8]? { memory.bytes(of: key) }
}

extension StagedFile {
  func write(_ bytes: [UInt8], at offset: Int) throws(WriteError) {
    do {
      try bytes.withUnsafeBytes { try write($0, at: UInt64(offset)) }
    } catch {
      throw error as? WriteError ?? .staging(.ioError)
    }
  }

  /// Reads as the filesystem does: what is missing is fetched first.
  func read(_ count: Int, at offset: Int) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      let raw = UnsafeMutableRawBufferPointer(buffer)
      if let done = try read(into: raw, at: UInt64(offset)) {
        initialized = done
      } else {
        try fill(UInt64(offset)..<UInt64(offset + count), nil)
        initialized = try read(into: raw, at: UInt64(offset)) ?? 0
      }
    }
  }
}

/// The store error of a failed operation.
func storeCode(_ body: () throws -> Void) -> ObjectStoreError.Code? {
  do {
    try body()
  } catch WriteError.store(let error) {
    return error.code
  } catch let error as ObjectStoreError {
    return error.code
  } catch {}
  return nil
}
