import Testing

@testable import waysfs

struct ProfileFileTests {
  @Test func readsTheUsualForm() throws {
    let file = ProfileFile(
      parsing: """
        # a comment
        [default]
        aws_access_key_id = AK
        AWS_Secret_Access_Key=se/cr+et=#x
        region = eu-north-1   # where it is

        [profile work]
        s3 =
            endpoint_url = https://storage.wayscloud.services
            addressing_style = path
        output = json
        ; another
        [other]
        """)
    #expect(
      file.profile("default") == [
        "aws_access_key_id": "AK", "aws_secret_access_key": "se/cr+et=#x", "region": "eu-north-1",
      ])
    let work = try #require(file.profile("work"))
    #expect(work["s3.endpoint_url"] == "https://storage.wayscloud.services")
    #expect(work["output"] == "json")
    #expect(work["endpoint_url"] == nil)
    #expect(file.profile("other") == [:])
    #expect(file.profile("none") == nil)
    #expect(file.profiles == ["default", "other", "work"])
  }

  @Test func toleratesWhatEditorsAndPeopleDo() {
    let file = ProfileFile(
      parsing: "\u{FEFF}[ default ]\r\n  a = 1\r\n  b = 2\r\n[default]\rb = 3\n[profile \"x y\"]\nc=4")
    #expect(file.profile("default") == ["a": "1", "b": "3"])
    #expect(file.profile("x y") == ["c": "4"])
  }

  @Test func passesOverNonsense() {
    let file = ProfileFile(parsing: "orphan = 1\n[open\nx = 1\n[]\n=\n[a]\n= v\nnoequals\nk =\n\u{0}\u{1}=2\n[a")
    #expect(file.profile("a")?["k"] == "")
    #expect(file.profile("open") == nil)
  }
}

struct CredentialSearchTests {
  private func search(
    _ environment: [String: String], files: [String: FileText] = [:], home: String? = "/home/u"
  ) throws -> FoundCredentials {
    try CredentialSearch(environment: environment, home: home) { files[$0] ?? .absent }.find()
  }

  private static let file: [String: FileText] = [
    "/home/u/.aws/credentials": .text(
      "[default]\naws_access_key_id=FILE\naws_secret_access_key=fs\n[work]\naws_access_key_id=WORK\n"
        + "aws_secret_access_key=ws\naws_session_token=wt\n"),
    "/home/u/.aws/config": .text(
      "[default]\nregion=r1\nendpoint_url=http://e1\n[profile work]\nregion=r2\nendpoint_url=http://no\n"
        + "s3=\n  endpoint_url=http://e2\n"),
  ]

  private func keyPair(_ found: FoundCredentials) -> KeyPair? {
    guard case .keyPair(let pair, _) = found.source else { return nil }
    return pair
  }

  @Test func environmentComesFirst() throws {
    let found = try search(
      [
        "AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": " es\n", "AWS_SESSION_TOKEN": "t",
        "WAYSCLOUD_API_KEY": "k",
      ], files: Self.file)
    #expect(
      keyPair(found) == KeyPair(accessKeyID: "ENV", secretAccessKey: Secret("es"), sessionToken: Secret("t")))
    // The profile's server belongs to the profile's key.
    #expect(found.region == nil && found.endpoint == nil)
  }

  @Test func sharedFilesComeSecond() throws {
    let found = try search(["WAYSCLOUD_API_KEY": "k"], files: Self.file)
    #expect(keyPair(found)?.accessKeyID == "FILE")
    #expect(found.region == "r1" && found.endpoint == "http://e1")
  }

  @Test func profiles() throws {
    let found = try search(["AWS_PROFILE": "work"], files: Self.file)
    #expect(
      keyPair(found) == KeyPair(accessKeyID: "WORK", secretAccessKey: Secret("ws"), sessionToken: Secret("wt")))
    #expect(found.region == "r2" && found.endpoint == "http://e2")
  }

  @Test func unknownProfileNamesTheNearest() throws {
    let error = try #require(throws: Failure.self) { try search(["AWS_PROFILE": "wrok"], files: Self.file) }
    #expect(error.description.contains("'wrok'") && error.description.contains("Did you mean 'work'?"))
  }

  @Test func keysInTheConfigurationFile() throws {
    let found = try search(
      ["AWS_CONFIG_FILE": "/c"],
      files: ["/c": .text("[default]\naws_access_key_id=C\naws_secret_access_key=cs\nregion=rc")])
    #expect(keyPair(found)?.accessKeyID == "C")
    #expect(found.region == "rc")
  }

  @Test func otherPlaces() throws {
    let found = try search(
      ["AWS_SHARED_CREDENTIALS_FILE": "/x"],
      files: ["/x": .text("[default]\naws_access_key_id=X\naws_secret_access_key=xs")])
    #expect(keyPair(found)?.accessKeyID == "X")
  }

  @Test func controlPlaneComesLast() throws {
    #expect(
      try search(["WAYSCLOUD_API_KEY": "k"]).source
        == .controlPlane(apiKey: Secret("k"), baseURL: "https://api.wayscloud.services"))
    #expect(
      try search(["WAYSCLOUD_API_KEY": "k", "WAYSCLOUD_API_URL": "http://127.0.0.1:5/"]).source
        == .controlPlane(apiKey: Secret("k"), baseURL: "http://127.0.0.1:5"))
    #expect(throws: Failure.self) {
      try search(["WAYSCLOUD_API_KEY": "k", "WAYSCLOUD_API_URL": "http://api.example.com"])
    }
  }

  @Test func nothingFoundNamesAllPlaces() throws {
    let error = try #require(throws: Failure.self) { try search([:]) }
    for place in ["AWS_ACCESS_KEY_ID", "/home/u/.aws/credentials [default]", "WAYSCLOUD_API_KEY"] {
      #expect(error.description.contains(place))
    }
    #expect(throws: Failure.self) { try search([:], home: nil) }
  }

  static let halves: [[String: String]] = [
    ["AWS_ACCESS_KEY_ID": "a"], ["AWS_SECRET_ACCESS_KEY": "s3cr3t"],
    ["AWS_ACCESS_KEY_ID": "a b", "AWS_SECRET_ACCESS_KEY": "s3cr3t"],
    ["AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s3cr3t\nX: y"],
    ["AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_SESSION_TOKEN": "ü"],
    ["AWS_SHARED_CREDENTIALS_FILE": "/missing"],
  ]

  @Test(arguments: halves)
  func halfAPairIsAnErrorWithoutTheSecret(_ environment: [String: String]) throws {
    let error = try #require(throws: Failure.self) { try search(environment, files: Self.file) }
    #expect(!error.description.contains("s3cr3t"))
  }

  @Test func unreadableFileIsNotPassedOver() throws {
    let error = try #require(throws: Failure.self) {
      try search(["WAYSCLOUD_API_KEY": "k"], files: ["/home/u/.aws/credentials": .unreadable("Permission denied")])
    }
    #expect(error.description.contains("Permission denied"))
  }

  @Test func secretsDoNotShow() throws {
    let found = try search(["AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "hunter2"])
    var dumped = ""
    dump(found, to: &dumped)
    for text in ["\(found)", String(reflecting: found), dumped] { #expect(!text.contains("hunter2")) }
  }
}
