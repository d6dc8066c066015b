import Basics
import Glibc
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import Filesystem

@Suite struct KeyLocksTests {
  /// Somebody who waits for a claim on a thread of its own.
  private func waiter(
    _ locks: KeyLocks, _ claim: KeyClaim, _ cancellation: Cancellation? = nil
  ) throws -> OneShot<Errno?> {
    let result = OneShot<Errno?>()
    let thread = Thread.start(name: "test") {
      do throws(Errno) {
        try locks.withClaims([claim], cancellation, orThrow: .interrupted) { () throws(Errno) in }
        result.fulfil(nil)
      } catch {
        result.fulfil(error)
      }
    }
    try #require(thread).detach()
    return result
  }

  @Test func whoWaitsCanGiveUp() throws {
    let locks = KeyLocks()
    let cancellation = Cancellation()
    try locks.withClaims([.one("a")]) {
      let waiting = try waiter(locks, .tree(""), cancellation)
      while locks.waitingCount == 0 { sched_yield() }
      // Behind the one who waits for everything.
      let behind = try waiter(locks, .one("b"))
      while locks.waitingCount == 1 { sched_yield() }
      cancellation.cancel()
      #expect(waiting.wait() == .interrupted)
      #expect(behind.wait() == nil)
    }
    #expect(locks.waitingCount == 0)
  }

  @Test func whoHasTheClaimDoesNotNoticeTheEndOfItsPatience() throws {
    let locks = KeyLocks()
    let cancellation = Cancellation()
    cancellation.cancel()
    let done: Bool = try locks.withClaims([.one("a")], cancellation, orThrow: Errno.interrupted) {
      () throws(Errno) in true
    }
    #expect(done)
  }

  @Test func callsOfProgramsThatWaitForANameEnd() throws {
    let bench = try Bench()
    try bench.put("d/a", "x")
    let inode = try bench.inode("d")
    _ = try bench.inode("d/a")
    let cancellation = Cancellation()
    let context = CallContext(uid: 1000, gid: 100, cancellation: cancellation)
    cancellation.cancel()
    let filesystem = bench.filesystem
    filesystem.locks.withClaims([.one("d/a"), .one("d/new")]) {
      #expect(failure { try filesystem.unlink(inode, FileName("a"), context) } == .interrupted)
      #expect(
        failure { try filesystem.rename(.root, FileName("d"), to: .root, FileName("e"), .replace, context) }
          == .interrupted)
      #expect(
        failure { _ = try filesystem.makeDirectory(inode, FileName("new"), mode: 0o755, context) } == .interrupted)
    }
    #expect(bench.memory.files == [ObjectKey("d/a")])
  }
}
