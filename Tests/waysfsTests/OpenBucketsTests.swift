import Basics
import Filesystem
import Glibc
import Logging
import S3
import SystemPackage
import Testing

@testable import waysfs

@Suite struct OpenBucketsTests {
  /// A log whose first line is written when the test says so: what writes it stands still meanwhile.
  private struct SlowLog: LogHandler {
    let hasBegun: Gateway
    let mayEnd: Gateway
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    var logLevel = Logger.Level.debug

    init(_ hasBegun: Gateway, _ mayEnd: Gateway) { (self.hasBegun, self.mayEnd) = (hasBegun, mayEnd) }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      guard !hasBegun.isOpen else { return }
      hasBegun.open()
      mayEnd.waitUntilOpen()
    }
  }

  private struct NoKernel: KernelCache {
    func invalidate(_ inode: InodeID) {}
    func invalidateAttributes(_ inode: InodeID) {}
    func invalidate(_ name: FileName, in parent: InodeID) {}
  }

  /// Whether that becomes true within a minute.
  private func isTrue(_ condition: () -> Bool) -> Bool {
    for _ in 0..<60_000 where !condition() { usleep(1000) }
    return condition()
  }

  /// Who wanted it may have given up; it would be drained by nobody, and use what has ended.
  @Test func theEndWaitsForABucketThatIsBeingOpenedAndOpensNoOther() throws {
    let directory = try TemporaryDirectory()
    let (hasBegun, mayEnd, ended) = (Gateway(), Gateway(), Gateway())
    let known = OneShot<[String]>()
    let log = Logger(label: "test") { _ in SlowLog(hasBegun, mayEnd) }
    // Nobody is asked anything.
    let settings = try MountSettingsTests.settings([
      "--endpoint", "http://127.0.0.1:1", "--cache-dir", directory.path, "--cache-limit", "0",
    ])
    let transport = try Composition.start(.init())
    let keys = StaticCredentials(S3Credentials(accessKeyID: "key", secretAccessKey: "secret"))
    let client = try Composition.client(settings, keys, transport, .init(), log)
    let shared = try SharedLayers(settings, client, transport, log)
    let buckets = OpenBuckets(shared)
    let opening = Thread.start(name: "test-open") { _ = try? buckets.open("first", NoKernel()) }
    #expect(isTrue { hasBegun.isOpen })
    let ending = Thread.start(name: "test-end") {
      _ = buckets.finishUploads()
      known.fulfil(buckets.all.map(\.reference.bucket))
      ended.open()
    }
    #expect(isTrue { buckets.isEnding })
    #expect(throws: Errno.ioError) { try buckets.open("second", NoKernel()) }
    #expect(!ended.isOpen)
    mayEnd.open()
    ending?.join()
    #expect(known.wait() == ["first"])
    opening?.join()
    buckets.shutDown()
    shared.shutDown()
  }
}
