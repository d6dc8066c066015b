import HTTPTransport
import Testing

@testable import WAYSCloud

/// Hostile answers: whatever comes, a call ends with a value or an error.
@Suite struct FuzzTests {
  /// A small generator, so that every run tries the same answers.
  private struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var value = state
      value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
      value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
      return value ^ (value >> 31)
    }
  }

  private static let seeds = [
    #"{"buckets":[{"name":"a-1","region":"x","created_at":"t","size_bytes":1,"object_count":2,"is_public":true}],"total":1}"#,
    #"{"success":true,"bucket_name":"abc","message":"done","endpoint":"e","region":"r"}"#,
    #"{"access_key_id":"AK","secret_access_key":"SK","endpoint_url":"e","region":"r"}"#,
    #"{"detail":[{"msg":"m","loc":["body","bucket_name"]}],"error":{"message":"\u00e9\ud83d\ude00"}}"#,
  ]

  private static let pieces = [
    "{", "}", "[", "]", "\"", ":", ",", "null", "true", "-", "1e999", "\\u0000", "\\ud800", "\u{0}", "\u{FEFF}",
    "99999999999999999999",
    "\\", "é",
  ]

  private func mutate(_ text: String, _ generator: inout Generator) -> [UInt8] {
    var bytes = Array(text.utf8)
    for _ in 0..<Int.random(in: 1...6, using: &generator) {
      let place = Int.random(in: 0...bytes.count, using: &generator)
      switch Int.random(in: 0..<4, using: &generator) {
      case 0: bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 0...20, using: &generator)))
      case 1: bytes.insert(contentsOf: Array((Self.pieces.randomElement(using: &generator) ?? "").utf8), at: place)
      case 2: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: place)
      default: if place < bytes.count { bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator) }
      }
    }
    return bytes
  }

  @Test func survivesBrokenJSON() {
    var generator = Generator(state: 42)
    var decoded = 0
    for round in 0..<4000 {
      let bytes = mutate(Self.seeds[round % Self.seeds.count], &generator)
      let response = HTTPResponse(head: HTTPResponseHead(status: 200), body: bytes)
      decoded += (try? decode(BucketList.self, from: response)) == nil ? 0 : 1
      decoded += (try? decode(StorageCredentials.self, from: response)) == nil ? 0 : 1
      if let message = serverMessage(bytes, hiding: "key") {
        #expect(message.unicodeScalars.count <= 300)
        #expect(!message.contains { $0.isNewline })
      }
    }
    // Else the answers were broken so much that nothing was tested.
    #expect(decoded > 100)
  }

  @Test(arguments: ["[", #"{"message":"#, #"{"buckets":["#, #"{"error":{"message":"#])
  func survivesDeepNesting(open: String) {
    let bytes = Array(String(repeating: open, count: 100_000).utf8)
    let response = HTTPResponse(head: HTTPResponseHead(status: 200), body: bytes)
    #expect(throws: ControlPlaneError.self) { try decode(BucketList.self, from: response) }
    #expect(serverMessage(bytes, hiding: "key") == nil)
  }

  @Test func survivesNestingThatIsClosed() {
    for depth in [10, 100, 400, 600, 5000] {
      let text = String(repeating: #"{"message":"#, count: depth) + #""deep""# + String(repeating: "}", count: depth)
      let message = serverMessage(Array(text.utf8), hiding: "key")
      #expect(message == nil || message == "deep")
    }
  }

  /// Ten megabytes of each kind: an answer or an error, in a time and space that are in proportion.
  @Test func survivesMegabytes() throws {
    let size = 10 * 1024 * 1024
    let element = #"{"name":"abc","size_bytes":1},"#
    let count = (size - 64) / element.utf8.count
    let many = #"{"buckets":["# + String(repeating: element, count: count) + #"{"name":"last"}]}"#
    let transport = ScriptedClient([
      .answer(200, many), .answer(200, String(many.dropLast(2))),
      .answer(200, #"{"buckets":[{"name":""# + String(repeating: "x", count: size - 100) + #""}]}"#),
      .answer(200, #"{"buckets":["# + String(repeating: "1", count: size - 100)),
      .answer(200, String(repeating: "\u{0}", count: size)), .answer(200, String(repeating: "[", count: size)),
      .answer(200, many + many),
    ])
    let plane = try ControlPlane(client: transport, apiKey: "key")
    #expect(try plane.listBuckets().buckets.count == count + 1)
    #expect(throws: ControlPlaneError.self) { try plane.listBuckets() }
    #expect(try plane.listBuckets().buckets.first?.name.utf8.count == size - 100)
    for _ in 0..<4 {
      let error = try #require(throws: ControlPlaneError.self) { try plane.listBuckets() }
      #expect(error.code == .malformedResponse)
      #expect(error.message.utf8.count < 200)
    }
    #expect(transport.left == 0)
  }

  @Test func everyTruncationIsAnErrorOrAnAnswer() {
    for seed in Self.seeds {
      let bytes = Array(seed.utf8)
      for length in 0..<bytes.count {
        let response = HTTPResponse(head: HTTPResponseHead(status: 200), body: Array(bytes[..<length]))
        #expect(throws: ControlPlaneError.self) { try decode(BucketList.self, from: response) }
        #expect(throws: ControlPlaneError.self) { try decode(StorageCredentials.self, from: response) }
      }
    }
  }
}
