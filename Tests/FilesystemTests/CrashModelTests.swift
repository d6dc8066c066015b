import Glibc
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem

/// Random operations, failing uploads in the background and daemons that die: of each file the next mount has the version
/// that was closed, synced or renamed last, or a newer one, whole, under its name, and nothing else is in the bucket.
@Suite struct CrashModelTests {
  typealias Dice = ModelTests.Dice

  /// How the files are, and how they may be after a crash.
  struct Model {
    var files: [String: [UInt8]] = [:]
    /// Every state since the last that is safe, that one included.
    var history: [String: [[UInt8]]] = [:]
    /// Files that were never closed.
    var unsafe: Set<String> = []
    var open: [(path: String, handle: HandleID)] = []

    mutating func change(_ path: String, _ bytes: [UInt8]) {
      files[path] = bytes
      history[path, default: []].append(bytes)
    }

    mutating func makeSafe(_ path: String) {
      guard let bytes = files[path] else { return }
      history[path] = [bytes]
      unsafe.remove(path)
    }

    mutating func remove(_ path: String) {
      (files[path], history[path]) = (nil, nil)
      unsafe.remove(path)
    }

    mutating func move(_ path: String, to newPath: String) {
      files[newPath] = files[path]
      remove(path)
      makeSafe(newPath)
      for index in open.indices where open[index].path == path { open[index].path = newPath }
    }
  }

  private static let names = ["a", "b", "c", "d/x", "d/y", "e/f/z"]

  @Test(arguments: Array(UInt64(1)...10), [WriteMode.writeback, .close])
  func randomCrashes(seed: UInt64, mode: WriteMode) throws {
    var dice = Dice(state: seed &* 7919)
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    var bench: Bench? = try Bench(over: memory, lifetime: 100, directory: directory, writeMode: mode)
    for path in ["d", "e", "e/f"] { try bench?.makeDirectory(path) }
    var model = Model()
    for step in 0..<200 {
      let moment = "seed \(seed) \(mode) step \(step)"
      if Int.random(in: 0..<12, using: &dice) == 0 {
        bench = nil
        bench = try Bench(over: memory, lifetime: 100, directory: directory, writeMode: mode)
        try #require(bench).filesystem.takeUpUnsent()
        try afterCrash(memory, &model, moment)
      }
      do {
        try perform(try #require(bench), &model, &dice)
        if step % 20 == 0 { try compare(try #require(bench), model, moment) }
      } catch {
        Issue.record("\(moment): \(error)")
        return
      }
    }
    let last = try #require(bench)
    for (path, handle) in model.open {
      last.filesystem.release(handle)
      model.makeSafe(path)
    }
    #expect(last.filesystem.drain() == [], "seed \(seed) \(mode)")
    last.runUploads()
    try afterCrash(memory, &model, "seed \(seed) \(mode) at the end")
    #expect(last.journal.space.used == 0, "seed \(seed) \(mode)")
  }

  private func afterCrash(_ memory: InMemoryObjectStore, _ model: inout Model, _ moment: String) throws {
    for path in Self.names {
      let found = memory.bytes(of: ObjectKey(path))
      if let found {
        let isKnown = model.history[path]?.contains { isSame($0, found) } ?? false
        #expect(isKnown, "\(moment): \(path) has \(found.count) bytes of no version that it may have")
      } else {
        #expect(model.files[path] == nil || model.unsafe.contains(path), "\(moment): \(path) is lost")
      }
      model.remove(path)
      if let found { model.change(path, found) }
    }
    let others = memory.files.filter { !Self.names.contains($0.string) && !$0.string.hasSuffix("/") }
    #expect(others == [], "\(moment)")
    #expect(memory.uploadCount == 0, "\(moment)")
    model.open = []
  }

  private func perform(_ bench: Bench, _ model: inout Model, _ dice: inout Dice) throws {
    let path = Self.names.randomElement(using: &dice) ?? "a"
    switch Int.random(in: 0..<16, using: &dice) {
    case 0, 1: try openOrCreate(path, bench, &model, &dice)
    case 2, 3, 4, 5: try write(bench, &model, &dice)
    case 6: try truncate(bench, &model, &dice)
    case 7, 8:
      guard let index = model.open.indices.randomElement(using: &dice) else { return }
      try close(at: index, bench, &model)
    case 9:
      guard model.files[path] != nil else { return }
      // Who has it open goes on with what nobody else sees.
      let orphans = model.open.filter { $0.path == path }
      model.open.removeAll { $0.path == path }
      try bench.unlink(path)
      for orphan in orphans {
        try bench.write("of no name".utf8, to: orphan.handle, at: 3)
        bench.filesystem.release(orphan.handle)
      }
      model.remove(path)
    case 10, 11: try rename(path, bench, &model, &dice)
    case 12: try renameDirectory(bench, &model)
    case 13: runUploads(bench, &dice)
    case 14:
      let handle = try bench.filesystem.openDirectory(.root, bench.context)
      try bench.filesystem.syncDirectory(handle, bench.context)
      bench.filesystem.releaseDirectory(handle)
    default:
      guard let file = model.open.randomElement(using: &dice) else { return }
      try tolerating { try bench.filesystem.sync(file.handle, bench.context) }
      model.makeSafe(file.path)
    }
  }

  /// An upload in the background that failed is told to the next close or fsync, which has done its part all the same.
  private func tolerating(_ body: () throws -> Void) throws {
    do {
      try body()
    } catch Errno.timedOut {}
  }

  private func close(at index: Int, _ bench: Bench, _ model: inout Model) throws {
    let file = model.open.remove(at: index)
    try tolerating { try bench.close(file.handle) }
    model.makeSafe(file.path)
  }

  private func openOrCreate(_ path: String, _ bench: Bench, _ model: inout Model, _ dice: inout Dice) throws {
    guard model.open.count < 5 else { return }
    if model.files[path] == nil {
      let exclusive = Bool.random(using: &dice)
      model.open.append((path, try bench.create(path, exclusive: exclusive)))
      model.change(path, [])
      model.unsafe.insert(path)
    } else {
      let truncates = Bool.random(using: &dice)
      model.open.append((path, try bench.open(path, writes: true, truncates: truncates)))
      if truncates { model.change(path, []) }
    }
  }

  private func write(_ bench: Bench, _ model: inout Model, _ dice: inout Dice) throws {
    guard let file = model.open.randomElement(using: &dice), var bytes = model.files[file.path] else { return }
    let isLarge = Int.random(in: 0..<16, using: &dice) == 0
    let count = Int.random(in: 1...(isLarge ? 9 << 20 : 5000), using: &dice)
    let start = min(Int.random(in: 0...bytes.count + (isLarge ? 0 : 3000), using: &dice), 16 << 20)
    let piece = pattern(count, seed: dice.next())
    if bytes.count < start + count { bytes += [UInt8](repeating: 0, count: start + count - bytes.count) }
    bytes.replaceSubrange(start..<start + count, with: piece)
    try bench.write(piece, to: file.handle, at: UInt64(start))
    model.change(file.path, bytes)
  }

  private func truncate(_ bench: Bench, _ model: inout Model, _ dice: inout Dice) throws {
    guard let file = model.open.randomElement(using: &dice), var bytes = model.files[file.path] else { return }
    let size = Int.random(in: 0...bytes.count + 1000, using: &dice)
    bytes = Array(bytes.prefix(size)) + [UInt8](repeating: 0, count: max(0, size - bytes.count))
    var changes = AttributeChanges()
    changes.size = UInt64(size)
    _ = try bench.filesystem.setAttributes(bench.inode(file.path), changes, file.handle, bench.context)
    model.change(file.path, bytes)
  }

  private func rename(
    _ path: String, _ bench: Bench, _ model: inout Model, _ dice: inout Dice
  ) throws {
    let target = Self.names.randomElement(using: &dice) ?? "b"
    guard model.files[path] != nil, target != path else { return }
    for index in model.open.indices.reversed() where model.open[index].path == target {
      try close(at: index, bench, &model)
    }
    try bench.rename(path, to: target)
    model.move(path, to: target)
  }

  private func renameDirectory(_ bench: Bench, _ model: inout Model) throws {
    try bench.rename("e", to: "h")
    try bench.rename("h", to: "e")
    model.makeSafe("e/f/z")
  }

  /// Some fail, and of some nobody hears that they did not.
  private func runUploads(_ bench: Bench, _ dice: inout Dice) {
    let faults = Faults(Dice(state: dice.next()))
    bench.store.setRule { operation in
      switch operation.kind {
      case .put, .uploadPart, .completeUpload: return faults.next()
      default: return nil
      }
    }
    bench.runUploads()
    bench.store.setRule { _ in nil }
  }

  private func compare(_ bench: Bench, _ model: Model, _ moment: String) throws {
    for path in Self.names {
      guard let bytes = model.files[path] else {
        #expect(try bench.exists(path) == false, "\(moment): \(path)")
        continue
      }
      #expect(try bench.stat(path).size == UInt64(bytes.count), "\(moment): \(path)")
      #expect(isSame(try bench.load(path), bytes), "\(moment): \(path)")
    }
  }
}

/// What goes wrong with uploads. Thread-safe.
private final class Faults: Sendable {
  private let dice: Mutex<ModelTests.Dice>

  init(_ dice: ModelTests.Dice) { self.dice = Mutex(dice) }

  func next() -> FailingObjectStore.Fault? {
    dice.withLock { dice in
      switch Int.random(in: 0..<6, using: &dice) {
      case 0: .fail(.timedOut)
      case 1: .loseAnswer(.timedOut)
      default: nil
      }
    }
  }
}

/// memcmp: `==` on arrays is slow in debug builds.
private func isSame(_ left: [UInt8], _ right: [UInt8]) -> Bool {
  left.count == right.count && memcmp(left, right, left.count) == 0
}
