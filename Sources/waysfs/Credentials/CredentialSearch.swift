/// Where the key pair comes from.
enum CredentialSource: Hashable, Sendable {
  /// A key pair that is at hand; `origin` says from where, for the log.
  case keyPair(KeyPair, origin: String)
  /// The control plane hands one out for an API key. The address has no trailing slash.
  case controlPlane(apiKey: Secret, baseURL: String)
}

/// What reading a small file gave.
enum FileText: Hashable, Sendable {
  case text(String)
  case absent
  /// It is there, but cannot be read.
  case unreadable(String)
}

/// What was found: a source, and the options that the source brings along.
struct FoundCredentials: Hashable, Sendable {
  var source: CredentialSource
  /// Endpoint and region from the same AWS profile as the key pair.
  var endpoint: String?
  var region: String?
}

/// Finds the credentials: environment, AWS shared files, control plane, in this order. Asks nobody over the network.
struct CredentialSearch {
  var environment: [String: String]
  var home: String?
  var readFile: (String) -> FileText

  static let defaultControlPlane = "https://api.wayscloud.services"

  func find() throws(Failure) -> FoundCredentials {
    if let pair = try fromEnvironment() {
      return FoundCredentials(source: .keyPair(pair, origin: "environment"))
    }
    if let found = try fromSharedFiles() { return found }
    if let key = value("WAYSCLOUD_API_KEY") {
      let base = try controlPlaneURL()
      return FoundCredentials(source: .controlPlane(apiKey: Secret(key), baseURL: base))
    }
    throw Failure(
      "no credentials found (looked at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        + "\(credentialsPath ?? "~/.aws/credentials (HOME is not set)") [\(profileName)], WAYSCLOUD_API_KEY)",
      remedy: "Set the two AWS_ variables or WAYSCLOUD_API_KEY, or put a key pair into the file")
  }

  private var profileName: String { value("AWS_PROFILE") ?? "default" }
  private var credentialsPath: String? { value("AWS_SHARED_CREDENTIALS_FILE") ?? inHome(".aws/credentials") }
  private var configurationPath: String? { value("AWS_CONFIG_FILE") ?? inHome(".aws/config") }

  private func inHome(_ path: String) -> String? { home.map { "\($0)/\(path)" } }

  /// A variable without surrounding blanks; an empty one counts as not set.
  private func value(_ variable: String) -> String? {
    guard let text = environment[variable]?.trimmed, !text.isEmpty else { return nil }
    return String(text)
  }

  private func fromEnvironment() throws(Failure) -> KeyPair? {
    try pair(
      id: value("AWS_ACCESS_KEY_ID"), secret: value("AWS_SECRET_ACCESS_KEY"), token: value("AWS_SESSION_TOKEN"),
      names: ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), place: "the environment")
  }

  private func fromSharedFiles() throws(Failure) -> FoundCredentials? {
    let credentials = try file(credentialsPath, wanted: value("AWS_SHARED_CREDENTIALS_FILE") != nil)
    let configuration = try file(configurationPath, wanted: value("AWS_CONFIG_FILE") != nil)
    let secret = credentials?.profile(profileName)
    let settings = configuration?.profile(profileName)
    if secret == nil, settings == nil, let wanted = value("AWS_PROFILE") {
      throw unknownProfile(wanted, known: (credentials?.profiles ?? []) + (configuration?.profiles ?? []))
    }
    for (profile, path) in [(secret, credentialsPath), (settings, configurationPath)] {
      guard let profile, let path else { continue }
      let pair = try pair(
        id: profile["aws_access_key_id"], secret: profile["aws_secret_access_key"],
        token: profile["aws_session_token"], names: ("aws_access_key_id", "aws_secret_access_key"),
        place: "\(path) [\(profileName)]")
      guard let pair else { continue }
      let both = (settings ?? [:]).merging(secret ?? [:]) { setting, _ in setting }
      return FoundCredentials(
        source: .keyPair(pair, origin: "\(path) [\(profileName)]"),
        endpoint: nonEmpty(both["s3.endpoint_url"]) ?? nonEmpty(both["endpoint_url"]),
        region: nonEmpty(both["s3.region"]) ?? nonEmpty(both["region"]))
    }
    return nil
  }

  private func file(_ path: String?, wanted: Bool) throws(Failure) -> ProfileFile? {
    guard let path else { return nil }
    switch readFile(path) {
    case .text(let text): return ProfileFile(parsing: text)
    case .absent where !wanted: return nil
    case .absent:
      throw Failure("\(path), which the environment names, is not there", remedy: "Correct or unset the variable")
    case .unreadable(let reason):
      // Going on would pick other credentials than the user meant.
      throw Failure("cannot read \(path): \(reason)", remedy: "Make it readable for the user who mounts")
    }
  }

  private func pair(
    id: String?, secret: String?, token: String?, names: (id: String, secret: String), place: String
  ) throws(Failure) -> KeyPair? {
    switch (nonEmpty(id), nonEmpty(secret)) {
    case (nil, nil): return nil
    case (let id?, let secret?):
      // A line break or blank inside would end up in a header; it is always a slip in copying.
      guard [id, secret, nonEmpty(token) ?? ""].allSatisfy({ $0.utf8.allSatisfy { (0x21...0x7E).contains($0) } }) else {
        throw Failure("the key pair in \(place) contains blanks or other characters that no key has")
      }
      return KeyPair(
        accessKeyID: id, secretAccessKey: Secret(secret), sessionToken: nonEmpty(token).map(Secret.init))
    case (_, nil): throw Failure("\(names.id) is set in \(place), but \(names.secret) is not", remedy: "Set both")
    case (nil, _): throw Failure("\(names.secret) is set in \(place), but \(names.id) is not", remedy: "Set both")
    }
  }

  private func nonEmpty(_ text: String?) -> String? { text.flatMap { $0.isEmpty ? nil : $0 } }

  private func unknownProfile(_ name: String, known: [String]) -> Failure {
    let names = Set(known).sorted()
    let hint = nearestName(to: name, among: names).map { "Did you mean '\($0)'?" }
    return Failure(
      "AWS_PROFILE names the profile '\(name)', which is in neither \(credentialsPath ?? "~/.aws/credentials") "
        + "nor \(configurationPath ?? "~/.aws/config")",
      remedy: hint ?? "Correct or unset AWS_PROFILE")
  }

  private func controlPlaneURL() throws(Failure) -> String {
    guard let text = value("WAYSCLOUD_API_URL") else { return Self.defaultControlPlane }
    let endpoint: Endpoint
    do {
      endpoint = try Endpoint(parsing: text)
    } catch {
      throw Failure("WAYSCLOUD_API_URL: \(error.message)", exitCode: .usage)
    }
    guard endpoint.isTLS || endpoint.isLoopback else {
      throw Failure(
        "WAYSCLOUD_API_URL is not https: the API key would cross the network in the clear",
        remedy: "Use https; plain http is for this machine only", exitCode: .usage)
    }
    return endpoint.description
  }
}
