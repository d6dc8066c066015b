import Glibc
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem
@testable import WritePath

/// Random operations of programs and of somebody else in the same bucket, requests that fail, and daemons that die:
/// what a program was told is stored, and what somebody else has stored and no program replaced, is somewhere.
@Suite struct ForeignModelTests {
  /// Bytes that must be somewhere.
  struct Owed {
    /// Names that they had: what a program does to one of them may be their end.
    var names: Set<String>
    var bytes: [UInt8]
    /// Somebody else has stored them.
    var isForeign: Bool
    /// What they are a change of may have been replaced: then the journal keeps them for a person.
    var mayStrand = false
  }

  struct World {
    var bench: Bench
    var owed: [Owed] = []
    /// Handles that programs keep open; whatever was written through them is flushed.
    var held: [(path: String, handle: HandleID)] = []
    /// What the mount of before left could not be sent at once: who opens such a file sees the version before it.
    var hasLeft = false
    var dice: ModelTests.Dice

    /// New bytes: few, or more than one part.
    mutating func unique(atMost count: Int = 900) -> [UInt8] {
      let isLarge = count > 100 && Int.random(in: 0..<150, using: &dice) == 0
      return pattern(isLarge ? 9 << 20 : Int.random(in: 1...count, using: &dice), seed: dice.next())
    }
  }

  private static let names = ["a", "b", "d/c"]

  @Test(arguments: Array(UInt64(1)...5), [WriteMode.writeback, .close])
  func nothingIsLostBetweenTwo(seed: UInt64, mode: WriteMode) throws {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    let lifetime: Double = seed % 2 == 0 ? 0 : 100
    func mount() throws -> Bench { try Bench(over: memory, lifetime: lifetime, directory: directory, writeMode: mode) }
    try memory.put(PutRequest(ObjectKey("d/"), body: .bytes([])))
    var world = World(bench: try mount(), dice: ModelTests.Dice(state: seed &* 104_729))
    for step in 0..<250 {
      let moment = "seed \(seed) \(mode) step \(step)"
      if Int.random(in: 0..<15, using: &world.dice) == 0 {
        world.held = []
        // Nothing may use the journal any more.
        world.bench = try Bench()
        world.bench = try mount()
        fail(&world, often: Int.random(in: 0..<3, using: &world.dice) == 0)
        world.bench.filesystem.takeUpUnsent()
        world.hasLeft = !world.bench.filesystem.pending().paths.isEmpty
      }
      try perform(&world, memory)
      if step % 25 == 24 { try settle(&world, memory, directory, moment) }
    }
  }

  /// Everything comes to its end, and what is owed is looked for.
  private func settle(
    _ world: inout World, _ memory: InMemoryObjectStore, _ directory: TemporaryDirectory, _ moment: String
  ) throws {
    world.bench.store.setRule { _ in nil }
    for (_, handle) in world.held { world.bench.filesystem.release(handle) }
    world.held = []
    _ = world.bench.filesystem.drain()
    world.bench.runUploads()
    let stored = Set(memory.files.compactMap { memory.bytes(of: $0) })
    let kept = try JournalInventory.read(root: directory.path).filter { $0.state == .stranded }
    for owed in world.owed where !stored.contains(owed.bytes) {
      let isKept = owed.mayStrand && kept.contains { owed.names.contains($0.key?.string ?? "") }
      let whose = owed.isForeign ? "of somebody else" : "of a program"
      #expect(isKept, "\(moment): \(owed.bytes.count) bytes \(whose) are nowhere: \(owed.names)")
    }
    #expect(world.bench.journal.keptFiles().quarantined == 0, "\(moment)")
    (world.owed, world.hasLeft) = ([], false)
    for key in memory.files where key.string.contains("(conflict") { try memory.delete(key, nil) }
  }

  private func perform(_ world: inout World, _ memory: InMemoryObjectStore) throws {
    let path = Self.names.randomElement(using: &world.dice) ?? "a"
    fail(&world, often: Int.random(in: 0..<4, using: &world.dice) == 0)
    switch Int.random(in: 0..<20, using: &world.dice) {
    case 0..<4: save(path, &world)
    case 4..<7:
      guard let handle = try? world.bench.open(path, writes: true) else { return }
      patch(path, handle, &world, isHeld: false)
      world.bench.filesystem.release(handle)
    case 7..<10:
      guard let (path, handle) = world.held.randomElement(using: &world.dice) else { return }
      patch(path, handle, &world, isHeld: true)
    case 10:
      guard world.held.count < 4, let handle = try? world.bench.create(path, exclusive: true) else { return }
      world.held.append((path, handle))
    case 11:
      guard world.held.count < 4, let handle = try? world.bench.open(path, writes: true) else { return }
      world.held.append((path, handle))
    case 12, 13: rename(path, &world)
    case 14: unlink(path, &world)
    case 15, 16, 17: try change(path, &world, memory)
    default: world.bench.runUploads()
    }
  }

  // MARK: Programs

  private func save(_ path: String, _ world: inout World) {
    let bench = world.bench
    guard let isThere = try? bench.exists(path) else { return }
    // The version may be another one since, which the next open finds out.
    let seen = isThere ? (try? bench.load(path)) ?? (try? bench.load(path)) : nil
    guard !isThere || seen != nil else { return }
    guard let handle = isThere ? try? bench.open(path, writes: true, truncates: true) : try? bench.create(path) else {
      // Cut perhaps, and then it failed.
      return world.owed.removeAll { !$0.isForeign && $0.names.contains(path) }
    }
    defer { bench.filesystem.release(handle) }
    let bytes = world.unique()
    replace(path, seen: seen, &world)
    guard (try? bench.write(bytes, to: handle)) != nil else { return }
    // One that fails keeps the bytes, too.
    _ = try? bench.filesystem.flush(handle, bench.context)
    world.owed.append(Owed(names: [path], bytes: bytes, isForeign: false))
  }

  private func patch(_ path: String, _ handle: HandleID, _ world: inout World, isHeld: Bool) {
    let bench = world.bench
    guard let seen = try? read(handle, bench) else { return }
    var bytes = seen
    let start = Int.random(in: 0...bytes.count, using: &world.dice)
    if Int.random(in: 0..<4, using: &world.dice) == 0 {
      var changes = AttributeChanges()
      changes.size = UInt64(start)
      guard let inode = bench.filesystem.handles.file(handle)?.inode,
        (try? bench.filesystem.setAttributes(inode, changes, handle, bench.context)) != nil
      else { return }
      bytes.removeSubrange(start...)
    } else {
      let piece = world.unique(atMost: 16)
      guard (try? bench.write(piece, to: handle, at: UInt64(start))) != nil else { return }
      bytes.replaceSubrange(start..<min(bytes.count, start + piece.count), with: piece)
    }
    _ = try? bench.filesystem.flush(handle, bench.context)
    // What a handle that was open before stands on may have been replaced before this, and so may what is unsent.
    let isOnOwn = world.owed.contains { !$0.isForeign && $0.mayStrand && $0.names.contains(path) }
    replace(path, seen: seen, &world)
    world.owed.append(
      Owed(names: [path], bytes: bytes, isForeign: false, mayStrand: isHeld || isOnOwn || world.hasLeft))
  }

  private func read(_ handle: HandleID, _ bench: Bench) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while true {
      let piece = try bench.read(handle, at: UInt64(bytes.count))
      if piece.isEmpty { return bytes }
      bytes += piece
    }
  }

  /// A program puts something in the place of what it has seen under a name.
  private func replace(_ path: String, seen: [UInt8]?, _ world: inout World) {
    world.owed.removeAll { $0.names.contains(path) && (!$0.isForeign || $0.bytes == seen) }
  }

  private func rename(_ path: String, _ world: inout World) {
    let target = Self.names.randomElement(using: &world.dice) ?? "b"
    guard target != path else { return }
    let isDone = (try? world.bench.rename(path, to: target)) != nil
    // It is meant for whatever has the name. When it fails, what was there may be replaced all the same.
    world.owed.removeAll { $0.names.contains(target) && ($0.names.count > 1 || !$0.names.contains(path)) }
    let there = world.bench.memory.bytes(of: ObjectKey(target))
    for index in world.owed.indices where world.owed[index].names.contains(path) {
      let hasMoved = isDone && (!world.owed[index].isForeign || world.owed[index].bytes == there)
      // A change that cannot be sent stays in the journal under the name of before.
      if hasMoved, !world.owed[index].mayStrand { world.owed[index].names.remove(path) }
      world.owed[index].names.insert(target)
    }
    letGo(of: target, &world)
    if isDone {
      for index in world.held.indices where world.held[index].path == path { world.held[index].path = target }
    } else {
      letGo(of: path, &world)
    }
  }

  private func unlink(_ path: String, _ world: inout World) {
    _ = try? world.bench.unlink(path)
    world.owed.removeAll { $0.names.contains(path) }
    letGo(of: path, &world)
  }

  private func letGo(of path: String, _ world: inout World) {
    for (_, handle) in world.held.filter({ $0.path == path }) { world.bench.filesystem.release(handle) }
    world.held.removeAll { $0.path == path }
  }

  // MARK: Somebody else

  private func change(_ path: String, _ world: inout World, _ memory: InMemoryObjectStore) throws {
    let there = memory.bytes(of: ObjectKey(path))
    // They have seen what they replace.
    world.owed.removeAll { $0.names.contains(path) && ($0.isForeign || $0.bytes == there) }
    for index in world.owed.indices where world.owed[index].names.contains(path) { world.owed[index].mayStrand = true }
    guard Int.random(in: 0..<4, using: &world.dice) > 0 else {
      return try memory.delete(ObjectKey(path), nil)
    }
    let bytes = world.unique()
    try memory.put(PutRequest(ObjectKey(path), body: .bytes(bytes)))
    world.owed.append(Owed(names: [path], bytes: bytes, isForeign: true))
  }

  /// Some requests fail from now on, and of some nobody hears that they did not.
  private func fail(_ world: inout World, often: Bool) {
    guard often else { return world.bench.store.setRule { _ in nil } }
    let dice = Mutex(ModelTests.Dice(state: world.dice.next()))
    world.bench.store.setRule { operation in
      guard ![.list, .listParts, .listUploads].contains(operation.kind), let key = operation.key,
        Self.names.contains(key.string)
      else { return nil }
      return dice.withLock { dice in
        switch Int.random(in: 0..<6, using: &dice) {
        case 0: .fail(.timedOut)
        case 1: .loseAnswer(.timedOut)
        default: nil
        }
      }
    }
  }
}
