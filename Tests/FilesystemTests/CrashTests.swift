import Glibc
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

/// A daemon that dies between any two changes of its journal or the bucket: what the next one makes of it is the state
/// before the operation or after it, and never less or something else.
@Suite struct CrashTests {
  /// One call of a program, and how the names look when it has returned.
  struct Step: Sendable {
    var what: @Sendable (Bench) throws -> Void
    var after: [String: String]
    /// How they may look, too, when it has not returned.
    var between: [String: String]?

    init(
      _ after: [String: String], between: [String: String]? = nil, _ what: @escaping @Sendable (Bench) throws -> Void
    ) {
      self.after = after
      self.between = between
      self.what = what
    }
  }

  struct Scenario: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var objects: [String: String] = [:]
    var modes: Set<WriteMode> = [.writeback, .close]
    var steps: [Step]
  }

  private static func save(_ path: String, _ text: String) -> @Sendable (Bench) throws -> Void {
    { try $0.save(path, text.utf8) }
  }

  private static func saveExclusively(_ path: String, _ text: String) -> @Sendable (Bench) throws -> Void {
    { bench in
      let handle = try bench.create(path, exclusive: true)
      try bench.write(text.utf8, to: handle)
      try bench.filesystem.sync(handle, bench.context)
      try bench.close(handle)
    }
  }

  private static func rename(_ path: String, _ newPath: String) -> @Sendable (Bench) throws -> Void {
    { try $0.rename(path, to: newPath) }
  }

  private static let upload: @Sendable (Bench) throws -> Void = { $0.runUploads() }

  /// More than one part; called `large` in the scenarios.
  private static let large = pattern(9 << 20)

  private static func text(_ bytes: [UInt8]) -> String {
    // memcmp: `==` on arrays is slow in debug builds.
    if bytes.count == large.count, memcmp(bytes, large, large.count) == 0 { return "large" }
    return String(decoding: bytes.prefix(100), as: UTF8.self)
  }

  static let scenarios = [
    Scenario(
      testDescription: "a file is saved twice",
      steps: [
        Step(["a": "one"], save("a", "one")), Step(["a": "one"], upload), Step(["a": "two"], save("a", "two")),
        Step(["a": "two"], upload),
      ]),
    Scenario(
      testDescription: "a new file takes the name of one that waits",
      steps: [
        Step(["final": "old"], save("final", "old")), Step(["final": "old", "tmp": "new"], save("tmp", "new")),
        Step(["final": "new"], rename("tmp", "final")), Step(["final": "new"], upload),
      ]),
    Scenario(
      testDescription: "a new file takes the name of an object", objects: ["final": "old"],
      steps: [
        Step(["final": "old", "tmp": "new"], save("tmp", "new")), Step(["final": "new"], rename("tmp", "final")),
        Step(["final": "new"], upload),
      ]),
    Scenario(
      testDescription: "an exclusive file takes the name of an object that has a newer version waiting",
      objects: ["final": "older"],
      steps: [
        Step(["final": "old"], save("final", "old")),
        // The empty object tells other machines that the name is taken.
        Step(
          ["final": "old", "tmp": "new"], between: ["final": "old", "tmp": ""], saveExclusively("tmp", "new")),
        Step(["final": "new"], rename("tmp", "final")), Step(["final": "new"], upload),
      ]),
    Scenario(
      testDescription: "a file that waits moves on after it replaced an object", objects: ["final": "old"],
      steps: [
        Step(["final": "old", "tmp": "new"], save("tmp", "new")), Step(["final": "new"], rename("tmp", "final")),
        Step(["further": "new"], rename("final", "further")), Step(["further": "new"], upload),
      ]),
    Scenario(
      testDescription: "a file that waits is removed", objects: ["a": "old"],
      steps: [
        Step(["a": "new"], save("a", "new")), Step([:]) { try $0.unlink("a") },
        Step(["a": "again"], save("a", "again")),
        Step(["a": "again"], upload),
      ]),
    Scenario(
      testDescription: "an object is renamed over one with a version that waits", objects: ["a": "A", "b": "B"],
      steps: [
        Step(["a": "A", "b": "BB"], save("b", "BB")), Step(["b": "A"], rename("a", "b")), Step(["b": "A"], upload),
      ]),
    Scenario(
      testDescription: "a change of an object that waits is cut", objects: ["a": "0123456789"],
      steps: [
        Step(["a": "0123456789tail"]) { bench in
          let handle = try bench.open("a", writes: true)
          try bench.write("tail".utf8, to: handle, at: 10)
          try bench.close(handle)
        },
        Step(["a": "012"]) { bench in
          var changes = AttributeChanges()
          changes.size = 3
          _ = try bench.filesystem.setAttributes(bench.inode("a"), changes, nil, bench.context)
        },
        Step(["a": "012"], upload),
      ]),
    Scenario(
      testDescription: "a large file is saved and renamed",
      steps: [
        Step(["a": "large"]) { try $0.save("a", large) },
        // A copy of an object made of parts has another tag.
        Step(["b": "large"], rename("a", "b")), Step(["b": "large"], upload),
      ]),
    Scenario(
      testDescription: "a directory with a large file is renamed", objects: ["d/": "", "d/a": "A"],
      // The rename is the same in both, and the bytes are many.
      modes: [.close],
      steps: [
        Step(["d/a": "A", "d/big": "large"]) { bench in
          try bench.save("d/big", large)
          bench.runUploads()
        },
        Step(["f/a": "A", "f/big": "large"], rename("d", "f")),
        Step(["f/a": "A", "f/big": "large"], upload),
      ]),
    Scenario(
      testDescription: "a directory is renamed", objects: ["d/": "", "d/a": "A", "d/e/": "", "d/e/b": "B"],
      steps: [
        Step(["d/a": "A", "d/e/b": "B", "d/c": "C"], save("d/c", "C")),
        Step(["f/a": "A", "f/e/b": "B", "f/c": "C"], rename("d", "f")),
        Step(["f/a": "A", "f/e/b": "B", "f/c": "C"], upload),
      ]),
  ]

  @Test(arguments: scenarios) func dyingAtAnyStep(_ scenario: Scenario) throws {
    for mode in scenario.modes { try dyingAtAnyStep(scenario, mode) }
  }

  private func dyingAtAnyStep(_ scenario: Scenario, _ mode: WriteMode) throws {
    var (wrong, steps): ([String], Int) = ([], 0)
    while let outcome = try crash(scenario, mode, after: steps) {
      wrong += outcome.wrong
      // Where the bucket was asked for something, that it was done and nobody heard of it is another case.
      if outcome.wasRequest { wrong += try crash(scenario, mode, after: steps, losesAnswer: true)?.wrong ?? [] }
      steps += 1
    }
    #expect(steps > 3)
    #expect(wrong == [])
  }

  /// - Returns: what is wrong afterwards; nil when the scenario came to its end before.
  private func crash(
    _ scenario: Scenario, _ mode: WriteMode, after steps: Int, losesAnswer: Bool = false
  ) throws -> (wrong: [String], wasRequest: Bool)? {
    let (memory, directory) = (InMemoryObjectStore(), try TemporaryDirectory())
    for (key, text) in scenario.objects {
      try memory.put(PutRequest(ObjectKey(key), body: .bytes(Array(text.utf8))))
    }
    let power = Power(steps: steps, losesAnswer: losesAnswer)
    var right: [[String: String]?] = [scenario.objects.filter { !$0.key.hasSuffix("/") }]
    do {
      let bench = try Bench(over: memory, directory: directory, writeMode: mode, power: power)
      for step in scenario.steps {
        right += [step.between, step.after]
        try? step.what(bench)
        if power.isDead { break }
        right = [step.after]
      }
    }
    let next = try Bench(over: memory, directory: directory, writeMode: mode)
    next.filesystem.takeUpUnsent()
    next.runUploads()
    let left = next.filesystem.drain()
    let found = Dictionary(
      uniqueKeysWithValues: memory.files.filter { !$0.string.hasSuffix("/") && !$0.string.contains("-probe-") }.map {
        ($0.string, Self.text(memory.bytes(of: $0) ?? []))
      })
    guard power.isDead else { return nil }
    // An upload whose beginning nobody heard of cannot be aborted.
    let uploads = power.end.hasPrefix("createUpload") ? 0 : memory.uploadCount
    guard !right.contains(found) || uploads > 0 || !left.isEmpty else { return ([], power.endsWithRequest) }
    let wrong = "\(mode), after \(steps) steps (\(power.end)): \(found), \(memory.uploadCount) uploads, left: \(left)"
    return ([wrong], power.endsWithRequest)
  }
}
