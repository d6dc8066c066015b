import ObjectStore
import ObjectStoreConformance
import Testing

@testable import S3

@Suite struct ServerConformanceTests {
  @Test(arguments: TestServer.allCases, ConformanceCheck.all)
  func conforms(_ server: TestServer, _ check: ConformanceCheck) throws {
    try server.withBucket { _, bucket in
      try check.run(on: bucket, traits: server.traits, prefix: TestServer.runPrefix)
    }
  }
}
