import Basics
import Glibc
import ObjectStore
import SystemPackage
import Testing

@testable import Filesystem

/// Renames of directories while others wait for the names that they have claimed.
@Suite struct RenameWaitTests {
  /// A call on a thread of its own. One that never ends fails the test, and is left behind with all that it uses.
  private final class Call: Sendable {
    private let isOver = Semaphore()
    private let error = OneShot<Errno?>()

    init(_ body: @escaping @Sendable () throws -> Void) throws {
      let thread = Thread.start(name: "test") { [self] in
        error.fulfil(failure(body))
        isOver.signal()
      }
      try #require(thread).detach()
    }

    /// The error it failed with, when it has ended within a minute.
    func outcome() throws -> Errno? {
      isOver.wait(seconds: 60)
      error.fulfil(.timedOut)
      return error.wait()
    }
  }

  /// Whether that becomes true within a minute.
  private func isTrue(_ condition: () -> Bool) -> Bool {
    for _ in 0..<60_000 where !condition() { usleep(1000) }
    return condition()
  }

  @Test func anFsyncThatWaitsForARenameDoesNotKeepItFromItsUploads() throws {
    let bench = try Bench(writeMode: .writeback)
    try bench.makeDirectory("d")
    for name in ["a", "b", "c"] { try bench.save("d/\(name)", name.utf8) }
    let handle = try bench.filesystem.openDirectory(bench.inode("d"), bench.context)
    let gate = Gate()
    bench.store.setRule { $0.key?.string == "e" || $0.key?.string == "e/" || $0.prefix == "e/" ? .hold(gate) : nil }
    // It looks what has the new name, and has claimed both.
    let rename = try Call { try bench.rename("d", to: "e") }
    #expect(isTrue { gate.waitingCount > 0 })
    let fsync = try Call { try bench.filesystem.syncDirectory(handle, bench.context) }
    // The only thread for such uploads waits for the claim.
    #expect(isTrue { bench.filesystem.locks.waitingCount > 0 })
    bench.store.setRule { _ in nil }
    gate.open()
    #expect(try rename.outcome() == nil)
    #expect(try fsync.outcome() == nil)
    #expect(bench.memory.files == ["e/", "e/a", "e/b", "e/c"].map { ObjectKey($0) })
    bench.filesystem.releaseDirectory(handle)
  }
}
