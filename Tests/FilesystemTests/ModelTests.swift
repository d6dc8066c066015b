import Basics
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

/// Random operations on the filesystem and on a dictionary must agree, whatever the metadata lifetime.
@Suite struct ModelTests {
  /// A small generator, so that a seed printed by a failing run can be given again.
  struct Dice: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var mixed = state
      mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
      mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
      return mixed ^ mixed >> 31
    }
  }

  /// A file as it should be, and its handle while it is open.
  struct Model {
    var files: [String: [UInt8]] = [:]
    var open: [(path: String, handle: HandleID)] = []
  }

  private static let names = ["a", "b", "c", "d/x", "d/y", "e/f/z"]

  @Test(arguments: [UInt64(1), 2, 3, 4], AttributesMode.allCases)
  func randomOperations(seed: UInt64, attributes: AttributesMode) throws {
    var dice = Dice(state: seed)
    let bench = try Bench(lifetime: seed % 2 == 0 ? 0 : 100, attributes: attributes, rootIsMarked: false)
    for directory in ["d", "e", "e/f"] { try bench.makeDirectory(directory) }
    var model = Model()
    for step in 0..<400 {
      try perform(bench, &model, &dice)
      if step % 50 == 0 { try compare(bench, model, "seed \(seed) step \(step)") }
    }
    for (_, handle) in model.open { try bench.close(handle) }
    model.open = []
    try compare(bench, model, "seed \(seed) at the end")
    for (path, bytes) in model.files { #expect(bench.object(path) == bytes, "seed \(seed): \(path) in the bucket") }
    let keys = bench.memory.files.filter { !$0.string.hasSuffix("/") }
    #expect(keys.map(\.string).sorted() == model.files.keys.sorted(), "seed \(seed)")
    #expect(bench.memory.uploadCount == 0, "seed \(seed): no upload is left over")
  }

  private func perform(_ bench: Bench, _ model: inout Model, _ dice: inout Dice) throws {
    let path = Self.names.randomElement(using: &dice) ?? "a"
    switch Int.random(in: 0..<12, using: &dice) {
    case 0, 1: try openOrCreate(path, bench, &model, truncates: Bool.random(using: &dice))
    case 2, 3, 4, 5: try write(bench, &model, &dice)
    case 6: try truncate(bench, &model, &dice)
    case 7:
      guard let index = model.open.indices.randomElement(using: &dice) else { return }
      try bench.close(model.open.remove(at: index).handle)
    case 8:
      guard model.files[path] != nil else { return }
      // A removed file that is still open is followed no further here.
      try closeAll(path, bench, &model)
      try bench.unlink(path)
      model.files[path] = nil
    case 9:
      let target = Self.names.randomElement(using: &dice) ?? "b"
      guard let bytes = model.files[path], target != path else { return }
      try closeAll(target, bench, &model)
      try bench.rename(path, to: target)
      model.files[path] = nil
      model.files[target] = bytes
      for index in model.open.indices where model.open[index].path == path { model.open[index].path = target }
    case 10:
      guard let file = model.open.randomElement(using: &dice), let bytes = model.files[file.path] else { return }
      let start = Int.random(in: 0...max(1, bytes.count), using: &dice)
      let expected = Array(bytes.dropFirst(start).prefix(100_000))
      #expect(try bench.read(file.handle, at: UInt64(start), count: 100_000) == expected)
    default:
      guard let file = model.open.randomElement(using: &dice) else { return }
      try bench.filesystem.sync(file.handle, bench.context)
      #expect(bench.object(file.path) == model.files[file.path])
    }
  }

  private func closeAll(_ path: String, _ bench: Bench, _ model: inout Model) throws {
    for file in model.open where file.path == path { try bench.close(file.handle) }
    model.open.removeAll { $0.path == path }
  }

  private func openOrCreate(_ path: String, _ bench: Bench, _ model: inout Model, truncates: Bool) throws {
    guard model.open.count < 5 else { return }
    if model.files[path] == nil {
      model.open.append((path, try bench.create(path)))
      model.files[path] = []
    } else {
      model.open.append((path, try bench.open(path, writes: true, truncates: truncates)))
      if truncates { model.files[path] = [] }
    }
  }

  private func write(_ bench: Bench, _ model: inout Model, _ dice: inout Dice) throws {
    guard let file = model.open.randomElement(using: &dice), var bytes = model.files[file.path] else { return }
    let isLarge = Int.random(in: 0..<6, using: &dice) == 0
    let count = Int.random(in: 1...(isLarge ? 6 << 20 : 5000), using: &dice)
    // Mostly within or at the end, at times beyond it; files stay below 30 MiB.
    let start = min(Int.random(in: 0...bytes.count + (isLarge ? 0 : 3000), using: &dice), 24 << 20)
    let piece = pattern(count, seed: dice.next())
    if bytes.count < start + count { bytes += [UInt8](repeating: 0, count: start + count - bytes.count) }
    bytes.replaceSubrange(start..<start + count, with: piece)
    try bench.write(piece, to: file.handle, at: UInt64(start))
    model.files[file.path] = bytes
  }

  private func truncate(_ bench: Bench, _ model: inout Model, _ dice: inout Dice) throws {
    guard let file = model.open.randomElement(using: &dice), var bytes = model.files[file.path] else { return }
    let size = Int.random(in: 0...bytes.count + 1000, using: &dice)
    bytes = Array(bytes.prefix(size)) + [UInt8](repeating: 0, count: max(0, size - bytes.count))
    var changes = AttributeChanges()
    changes.size = UInt64(size)
    _ = try bench.filesystem.setAttributes(bench.inode(file.path), changes, file.handle, bench.context)
    model.files[file.path] = bytes
  }

  private func compare(_ bench: Bench, _ model: Model, _ moment: String) throws {
    for path in Self.names {
      guard let bytes = model.files[path] else {
        #expect(try bench.exists(path) == false, "\(moment): \(path)")
        continue
      }
      #expect(try bench.stat(path).size == UInt64(bytes.count), "\(moment): \(path)")
      #expect(try bench.load(path) == bytes, "\(moment): \(path)")
    }
    #expect(
      try bench.names("d") == model.files.keys.filter { $0.hasPrefix("d/") }.map { String($0.dropFirst(2)) }.sorted(),
      "\(moment)")
  }
}
