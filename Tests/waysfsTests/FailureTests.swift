import ObjectStore
import Testing

@testable import waysfs

struct FailureTests {
  @Test func oneLine() {
    #expect(Failure("it broke", remedy: "Mend it").description == "it broke. Mend it.")
    #expect(Failure("really?", remedy: "Yes").description == "really? Yes.")
    #expect(Failure("it broke").description == "it broke")
    #expect(Failure("a\nb\u{1B}[0m").description == "a\\nb\\u{1b}[0m")
  }

  static let mapping: [(ObjectStoreError.Code, String, String)] = [
    (.noSuchBucket, "there is no bucket 'photos'", "--endpoint"),
    (.invalidCredentials, "does not accept the key pair (words)", "AWS_SECRET_ACCESS_KEY"),
    (.accessDenied, "may not use the bucket", "owner"),
    (.wrongRegion, "another region than 'eu-north-1': words", "--region"),
    (.connectionFailed, "cannot be reached: words", "--endpoint"), (.timedOut, "does not answer", "--endpoint"),
    (.tlsFailed, "no secure connection", "--ca-file"), (.corruptResponse, "not answer like an S3 server", "--endpoint"),
    (.serverError, "has trouble", "later"), (.throttled, "has trouble", "later"),
    (.unsupported, "refused the request", "--path-style"), (.invalidRequest, "refused the request", "--region"),
    (.cancelled, "interrupted", ""),
  ]

  @Test(arguments: mapping)
  func storeErrors(_ code: ObjectStoreError.Code, _ reason: String, _ remedy: String) throws {
    let failure = Failure(ObjectStoreError(code, "words."), settings: try MountSettingsTests.settings())
    #expect(failure.reason.contains(reason), "\(failure)")
    #expect(remedy.isEmpty ? failure.remedy.isEmpty : failure.remedy.contains(remedy), "\(failure)")
    #expect(failure.exitCode == .failed)
  }

  @Test func everyStoreErrorHasALine() throws {
    let settings = try MountSettingsTests.settings()
    for code in ObjectStoreError.Code.allCases {
      #expect(!Failure(ObjectStoreError(code, ""), settings: settings).description.isEmpty)
    }
  }

  static let counts: [(UInt64, String)] = [
    (0, "0 bytes"), (999, "999 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"), (12 << 20, "12 MiB"), (1 << 30, "1 GiB"),
    (.max, "16 EiB"),
  ]

  @Test(arguments: counts)
  func byteCounts(_ bytes: UInt64, _ text: String) {
    #expect(ByteCount.text(bytes) == text)
  }
}
