/// Where the key pair comes from.
enum CredentialSource: Hashable, Sendable {
  /// A key pair that is at hand; `origin` says from where, for the log.
  case keyPair(KeyPair, origin: String)
  /// The control plane hands one out for an API key. The address has no trailing slash.
  case controlPlane(apiKey: Secret, baseURL: String, origin: String)
}

/// What reading a small file gave.
enum FileText: Hashable, Sendable {
  /// Its contents and permission bits.
  case text(String, mode: UInt32 = 0o600)
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

/// Finds the credentials. Asks nobody over the network.
///
/// The layers of options are looked through, the strongest first: flags, `-o`, the environment, the profile of the
/// configuration. In each of them: a key pair (only the environment has one), an API key, a file with a key pair, a file
/// with an API key, what the service manager hands over, a profile of the AWS files. The last resort is the profile
/// `default` of the AWS files.
struct CredentialSearch {
  var environment: [String: String]
  var home: String?
  var workingDirectory = "/"
  /// What the user chose, the strongest first.
  var layers: [OptionLayer]
  /// The address of the control plane, without a trailing slash.
  var controlPlane: String
  var readFile: (String) -> FileText

  /// The credentials of a mount.
  func find() throws(Failure) -> FoundCredentials {
    for layer in layers {
      if let found = try find(in: layer) { return found }
    }
    if let found = try fromSharedFiles("default") { return found }
    throw Failure(
      "no credentials found (looked at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, WAYSCLOUD_API_KEY, "
        + "--api-key-file, --credentials-file, \(value("CREDENTIALS_DIRECTORY").map { "\($0), " } ?? "")"
        + "\(credentialsPath ?? "~/.aws/credentials (HOME is not set)") [default])",
      remedy: "Set the two AWS_ variables or WAYSCLOUD_API_KEY, or put a key pair into the file")
  }

  /// The API key of the account, for what only the control plane can do.
  func findAPIKey() throws(Failure) -> (key: Secret, origin: String) {
    for layer in layers {
      if let found = try apiKey(in: layer) { return found }
    }
    throw Failure(
      "no API key found (looked at WAYSCLOUD_API_KEY, --api-key-file)",
      remedy: "Set WAYSCLOUD_API_KEY, or put the key into a file and name it with --api-key-file")
  }

  /// Files that may hold secrets and are there, and why no secret may be taken from those that are open to others.
  func secretFiles() -> [(path: String, problem: Failure?)] {
    let named = layers.flatMap { layer in
      [layer.values[.credentialsFile], layer.values[.apiKeyFile]].compactMap { $0.flatMap { try? path($0) } }
    }
    var seen: Set<String> = []
    return (named + [credentialsPath].compactMap(\.self)).compactMap { path in
      guard seen.insert(path).inserted, case .text(_, let mode) = readFile(path) else { return nil }
      return (path, Self.exposure(path, mode))
    }
  }

  private func find(in layer: OptionLayer) throws(Failure) -> FoundCredentials? {
    let isEnvironment = layer.origin == .environment
    if isEnvironment, let pair = try fromEnvironment() {
      return FoundCredentials(source: .keyPair(pair, origin: "environment"))
    }
    if let file = layer.values[.credentialsFile] { return try fromCredentialsFile(try path(file)) }
    if let (key, origin) = try apiKey(in: layer) {
      return FoundCredentials(source: .controlPlane(apiKey: key, baseURL: controlPlane, origin: origin))
    }
    if isEnvironment, let file = handedOver("aws-credentials") { return try fromCredentialsFile(file) }
    // With a file of its own, the profile only says which part of that file counts.
    guard let profile = layer.values[.awsProfile], said(.credentialsFile) == nil else { return nil }
    return try fromSharedFiles(profile.text, named: profile)
  }

  private func apiKey(in layer: OptionLayer) throws(Failure) -> (key: Secret, origin: String)? {
    let isEnvironment = layer.origin == .environment
    if isEnvironment, let key = value("WAYSCLOUD_API_KEY") { return (Secret(key), "WAYSCLOUD_API_KEY") }
    if let file = layer.values[.apiKeyFile] { return try apiKey(file: try path(file)) }
    if isEnvironment, let file = handedOver("wayscloud-api-key") { return try apiKey(file: file) }
    return nil
  }

  private func apiKey(file path: String) throws(Failure) -> (key: Secret, origin: String) {
    let key = try secretText(path).trimmed
    guard !key.isEmpty, key.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
      throw Failure(
        "\(path) does not have the form of an API key", remedy: "Put the key into it, in one line and nothing else")
    }
    return (Secret(String(key)), path)
  }

  /// A file of the service manager (systemd: LoadCredential=), when there is one.
  private func handedOver(_ name: String) -> String? {
    guard let directory = value("CREDENTIALS_DIRECTORY"), directory.hasPrefix("/") else { return nil }
    let path = "\(directory)/\(name)"
    return readFile(path) == .absent ? nil : path
  }

  private func said(_ option: MountOption) -> OptionLayer.Value? {
    layers.lazy.compactMap { $0.values[option] }.first
  }

  private func path(_ value: OptionLayer.Value) throws(Failure) -> String {
    do throws(UsageError) {
      return try OptionValue.path(value.text, relativeTo: workingDirectory)
    } catch {
      throw Failure("\(value.spelledAs): \(error.message)", exitCode: .usage)
    }
  }

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

  private func fromCredentialsFile(_ path: String) throws(Failure) -> FoundCredentials {
    let file = ProfileFile(parsing: try secretText(path))
    let name = said(.awsProfile)?.text ?? "default"
    guard let profile = file.profile(name) else {
      throw Failure(
        "there is no profile '\(name)' in \(path)",
        remedy: nearestName(to: name, among: file.profiles).map { "Did you mean '\($0)'?" }
          ?? "Name the right one with --aws-profile")
    }
    guard let found = try found(in: profile, "\(path) [\(name)]", settings: profile) else {
      throw Failure("there is no key pair in \(path) [\(name)]")
    }
    return found
  }

  /// - Parameter named: the option that names the profile, which must be there then.
  private func fromSharedFiles(_ name: String, named: OptionLayer.Value? = nil) throws(Failure) -> FoundCredentials? {
    let credentials = try file(credentialsPath, wanted: value("AWS_SHARED_CREDENTIALS_FILE") != nil)
    let configuration = try file(configurationPath, wanted: value("AWS_CONFIG_FILE") != nil)
    let secret = credentials?.contents.profile(name)
    let settings = configuration?.contents.profile(name)
    if secret == nil, settings == nil, let named {
      throw unknownProfile(named, known: [credentials, configuration].flatMap { $0?.contents.profiles ?? [] })
    }
    let both = (settings ?? [:]).merging(secret ?? [:]) { setting, _ in setting }
    for (profile, file) in [(secret, credentials), (settings, configuration)] {
      guard let profile, let file else { continue }
      guard let found = try found(in: profile, "\(file.path) [\(name)]", settings: both) else { continue }
      if let problem = file.problem { throw problem }
      return found
    }
    return nil
  }

  private func found(
    in profile: [String: String], _ place: String, settings: [String: String]
  ) throws(Failure) -> FoundCredentials? {
    let pair = try pair(
      id: profile["aws_access_key_id"], secret: profile["aws_secret_access_key"], token: profile["aws_session_token"],
      names: ("aws_access_key_id", "aws_secret_access_key"), place: place)
    guard let pair else { return nil }
    return FoundCredentials(
      source: .keyPair(pair, origin: place),
      endpoint: nonEmpty(settings["s3.endpoint_url"]) ?? nonEmpty(settings["endpoint_url"]),
      region: nonEmpty(settings["s3.region"]) ?? nonEmpty(settings["region"]))
  }

  /// A file of profiles, and why no secret may be taken from it.
  private struct SharedFile {
    var path: String
    var contents: ProfileFile
    var problem: Failure?
  }

  private func file(_ path: String?, wanted: Bool) throws(Failure) -> SharedFile? {
    guard let path else { return nil }
    switch readFile(path) {
    case .text(let text, let mode):
      return SharedFile(path: path, contents: ProfileFile(parsing: text), problem: Self.exposure(path, mode))
    case .absent where !wanted: return nil
    case .absent:
      throw Failure("\(path), which the environment names, is not there", remedy: "Correct or unset the variable")
    case .unreadable(let reason):
      // Going on would pick other credentials than the user meant.
      throw Failure("cannot read \(path): \(reason)", remedy: "Make it readable for the user who mounts")
    }
  }

  /// The text of a file that nobody else may read.
  private func secretText(_ path: String) throws(Failure) -> String {
    switch readFile(path) {
    case .text(let text, let mode):
      // The service manager keeps others out by the directory.
      let isHandedOver = value("CREDENTIALS_DIRECTORY").map { path.utf8.starts(with: "\($0)/".utf8) } ?? false
      if !isHandedOver, let problem = Self.exposure(path, mode) { throw problem }
      return text
    case .absent: throw Failure("\(path) is not there", remedy: "Correct the path, or make the file")
    case .unreadable(let reason):
      throw Failure("cannot read \(path): \(reason)", remedy: "Make it readable for the user who mounts")
    }
  }

  /// Why no secret is taken from a file with these permission bits.
  static func exposure(_ path: String, _ mode: UInt32) -> Failure? {
    guard mode & 0o006 != 0 else { return nil }
    return Failure(
      "the secret in \(path) is open to others: everybody may \(mode & 0o004 != 0 ? "read" : "write") the file",
      remedy: "Take that right away with 'chmod 600 \(path)'; if somebody may have read it, change the secret")
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

  private func unknownProfile(_ wanted: OptionLayer.Value, known: [String]) -> Failure {
    let hint = nearestName(to: wanted.text, among: Set(known).sorted()).map { "Did you mean '\($0)'?" }
    return Failure(
      "\(wanted.spelledAs) names the profile '\(wanted.text)', which is in neither "
        + "\(credentialsPath ?? "~/.aws/credentials") nor \(configurationPath ?? "~/.aws/config")",
      remedy: hint ?? "Correct or unset it")
  }
}

extension CredentialSearch {
  /// Looks into the files of this machine.
  init(_ context: ProcessContext, _ layers: [OptionLayer], controlPlane: Endpoint) {
    self.init(
      environment: context.environment, home: context.home, workingDirectory: context.workingDirectory,
      layers: layers, controlPlane: controlPlane.description, readFile: readSmallFile)
  }
}
