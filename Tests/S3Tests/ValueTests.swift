import Basics
import HTTPTransport
import ObjectStore
import Testing

@testable import S3

@Suite struct ValueTests {
  @Test(arguments: [
    ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777), ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199), ("Sun, 31 Dec 2000 12:00:00 GMT", 978_264_000),
  ])
  func httpDates(_ text: String, _ seconds: Int64) {
    #expect(parseHTTPDate(text) == Timestamp(seconds: seconds))
  }

  @Test(arguments: [
    "", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Xxx 1994 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 06 Nov 99999999999999999999 08:49:37 GMT", "Sun, -6 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
  ])
  func notHTTPDates(_ text: String) { #expect(parseHTTPDate(text) == nil) }

  @Test(arguments: [
    ("2009-10-12T17:50:30.000Z", 1_255_369_830), ("2009-10-12T17:50:30Z", 1_255_369_830),
    ("2009-10-12T17:50:30.123456789Z", 1_255_369_830), ("2009-10-12T19:50:30+02:00", 1_255_369_830),
    ("2009-10-12T15:20:30.5-02:30", 1_255_369_830),
  ])
  func isoDates(_ text: String, _ seconds: Int64) { #expect(parseISODate(text) == Timestamp(seconds: seconds)) }

  @Test(arguments: [
    "", "2009", "2009-10-12T17:50:30", "2009-13-12T17:50:30Z", "2009-10-12 17:50:30Z", "2009-10-12T17:50:30.Q",
  ])
  func notISODates(_ text: String) { #expect(parseISODate(text) == nil) }

  @Test func civilTimeRoundTrips() {
    for seconds in stride(from: Int64(-2_000_000_000), to: 5_000_000_000, by: 86_399 * 17) {
      #expect(CivilTime(Timestamp(seconds: seconds)).timestamp == Timestamp(seconds: seconds))
    }
    #expect(amazonDate(Timestamp(seconds: 1_369_353_600)) == "20130524T000000Z")
  }

  @Test func digestsAndTheirForms() {
    #expect(hexadecimal(Digest.of([], .sha256)) == S3Request.emptyHash)
    #expect(hexadecimal(Digest.of(Array("abc".utf8), .md5)) == "900150983cd24fb0d6963f7d28e17f72")
    #expect(bytes(hexadecimal: "00fFa0") == [0, 255, 160])
    #expect(bytes(hexadecimal: "0") == nil)
    #expect(bytes(hexadecimal: "zz") == nil)
    for (text, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
      #expect(base64(Array(text.utf8)) == expected)
    }
  }

  @Test func formDecoding() {
    #expect(formDecoded("a+b%2Bc%20%C3%A4%0A") == "a b+c ä\n")
    for bad in ["%", "%4", "%zz", "%FF"] { #expect(formDecoded(bad) == nil) }
  }

  @Test func percentEncodingOfKeys() {
    #expect(percentEncoded("a b/ü+%", keepingSlash: true) == "a%20b/%C3%BC%2B%25")
    #expect(percentEncoded("a/b") == "a%2Fb")
  }

  @Test(arguments: [
    "", "storage.test", "ftp://storage.test", "http://", "https://:80", "http://a:0", "http://a:65536", "http://a:x",
    "http://a:+5", "http://a/bucket", "http://a?x", "http://a#x", "http://user:pw@a", "http://a b", "http://ä",
    "http://[::1", "http://[::1]x", "http://[zz]", "http://-a", "http://a:1:2",
  ])
  func notEndpoints(_ url: String) {
    let error = failure { () throws(ObjectStoreError) in try S3Endpoint(url) }
    #expect(error?.code == .invalidRequest)
    #expect(error?.message.contains("endpoint") == true)
  }

  @Test func endpoints() throws {
    #expect(try S3Endpoint("https://Storage.Test/").description == "https://storage.test")
    #expect(try S3Endpoint("https://a:443").authority(host: "a") == "a")
    #expect(try S3Endpoint("http://a:443").authority(host: "a") == "a:443")
    #expect(try S3Endpoint("http://127.0.0.1:8333").description == "http://127.0.0.1:8333")
    #expect(try S3Endpoint("http://[::1]:8333").description == "http://[::1]:8333")
    #expect(throws: ObjectStoreError.self) { try S3Configuration(endpoint: "http://a", region: "a/b") }
    #expect(throws: ObjectStoreError.self) { try S3Configuration(endpoint: "http://a", region: "") }
  }

  @Test func credentialsDoNotShowTheirSecret() {
    let credentials = S3Credentials(accessKeyID: "AKID", secretAccessKey: "hidden1", sessionToken: "hidden2")
    var dumped = ""
    dump(credentials, to: &dumped)
    dump(StaticCredentials(credentials), to: &dumped)
    for text in ["\(credentials)", String(reflecting: credentials), dumped, "\(StaticCredentials(credentials))"] {
      #expect(text.contains("AKID"))
      #expect(!text.contains("hidden"))
    }
  }

  @Test func contentRanges() {
    let parsed = MetadataParser.contentRange("bytes 5-9/20")
    #expect(parsed?.range == ByteRange(offset: 5, length: 5))
    #expect(parsed?.size == 20)
    for bad in ["", "bytes */20", "bytes 5-9/*", "bytes 9-5/20", "bytes 5-20/20", "5-9/20", "bytes 5-9", "bytes a-b/c"]
    {
      #expect(MetadataParser.contentRange(bad) == nil)
    }
  }
}

@Suite struct RetryTests {
  @Test func delaysGrowWithFullJitterUpToTheBound() {
    let policy = RetryPolicy(maximumAttempts: 8, baseDelay: 0.1, maximumDelay: 1)
    let full = (1...7).map { policy.delay(afterFailures: $0, random: 1) ?? -1 }
    #expect(zip(full, [0.1, 0.2, 0.4, 0.8, 1, 1, 1]).allSatisfy { abs($0 - $1) < 1e-9 })
    #expect(policy.delay(afterFailures: 3, random: 0) == 0)
    #expect(policy.delay(afterFailures: 3, random: 0.5) == 0.2)
    #expect(policy.delay(afterFailures: 8, random: 0.5) == nil)
    #expect(RetryPolicy(maximumAttempts: 0).delay(afterFailures: 1, random: 0.5) == nil)
  }

  @Test func retryAfterIsHonouredWithinBounds() {
    let policy = RetryPolicy(maximumRetryAfter: 30)
    #expect(policy.delay(afterFailures: 1, random: 0, retryAfter: 7) == 7)
    #expect(policy.delay(afterFailures: 1, random: 0, retryAfter: 1e12) == 30)
  }

  @Test func budgetRunsOutAndIsEarnedBack() {
    var budget = RetryBudget(capacity: 12)
    let granted = [budget.withdraw(5), budget.withdraw(5), budget.withdraw(5)]
    #expect(granted == [true, true, false])
    #expect(budget.tokens == 2)
    budget.succeeded(lastCost: nil)
    budget.succeeded(lastCost: 5)
    #expect(budget.tokens == 8)
    budget.succeeded(lastCost: 10)
    #expect(budget.tokens == 12)
  }
}
