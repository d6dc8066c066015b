import Basics
import Filesystem
import Synchronization
import SystemPackage
import Testing

@testable import AccountTree

/// When a bucket is opened, and who waits for it.
@Suite struct OpeningTests {
  @Test func aBucketIsOpenedWhenItIsFirstUsed() throws {
    let bench = try Bench(FakeAccount("aaa", "bbb"))
    try bench.write("bbb/file", "x")
    #expect(bench.opened.names == ["bbb"])
    _ = try bench.names("aaa")
    _ = try bench.names("bbb")
    #expect(bench.opened.names == ["bbb", "aaa"])
  }

  @Test func aBucketIsOpenedOnceByManyThreads() throws {
    let bench = try Bench(FakeAccount("aaa"))
    let threads = (0..<8).compactMap { _ in
      Thread.start(name: "test") { _ = try? bench.names("aaa") }
    }
    #expect(threads.count == 8)
    for thread in threads { thread.join() }
    #expect(bench.opened.names == ["aaa"])
  }

  @Test func whoGivesUpWhileABucketIsOpenedDoesNotWait() throws {
    let (isOpening, mayOpen) = (Semaphore(), Semaphore())
    let opened = Mutex(0)
    let branch = Branch(FileName("aaa"), Slot(number: 1)) { () throws(Errno) in
      opened.withLock { $0 += 1 }
      isOpening.signal()
      mayOpen.wait()
      throw .ioError
    }
    let cancellation = Cancellation()
    let results = Mutex<[Errno?]>([])
    let threads = [cancellation, nil].compactMap { cancellation in
      Thread.start(name: "test") {
        let result = failure { _ = try branch.bucket(cancellation) }
        results.withLock { $0.append(result) }
      }
    }
    isOpening.wait()
    cancellation.cancel()
    threads[0].join()
    #expect(results.withLock { $0 } == [.interrupted])
    #expect(failure { _ = try branch.bucket(cancellation) } == .interrupted)
    // More than once: the second thread may be so late that it tries again.
    for _ in 0..<4 { mayOpen.signal() }
    threads[1].join()
    #expect(results.withLock { $0 } == [.interrupted, .ioError] && branch.ifOpen == nil)
    let before = opened.withLock { $0 }
    #expect(failure { _ = try branch.bucket(nil) } == .ioError && opened.withLock { $0 } == before + 1)
  }
}
