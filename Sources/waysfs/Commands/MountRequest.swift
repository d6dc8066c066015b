import Glibc

extension ProcessContext {
  /// Of this process.
  static func current() -> ProcessContext {
    var environment: [String: String] = [:]
    var entry = environ
    while let line = entry.pointee {
      let text = String(cString: line)
      if let equals = text.firstIndex(of: "=") {
        environment[String(text[..<equals])] = String(text[text.index(after: equals)...])
      }
      entry += 1
    }
    var directory = "/"
    if let path = getcwd(nil, 0) {
      directory = String(cString: path)
      free(path)
    }
    return ProcessContext(
      uid: geteuid(), gid: getegid(), workingDirectory: directory, environment: environment,
      memoryAllowed: ControlGroup.memoryLimit())
  }
}

/// A mount as it was asked for.
struct MountRequest {
  /// Nil when none is named, as with `--all`.
  var bucket: String?
  /// Nil when nothing is to be mounted.
  var mountPoint: String?
  var flags: MountFlags

  /// What is to be mounted.
  func target(_ layers: [OptionLayer]) throws(UsageError) -> MountTarget {
    // A command about one bucket means that one, whatever a profile says for mounts.
    let mountsAll = try MountSettings.mountsAll(layers: layers)
    // What is typed counts for more than what a profile says, also where it is a name.
    let isTyped = layers.contains { $0.origin.isTyped && $0.values[.allBuckets] != nil }
    let namesBucket = bucket.map { !MountTarget.accountNames.contains($0) } ?? false
    guard mountsAll, mountPoint != nil, isTyped || !namesBucket else {
      guard let bucket else { throw UsageError("the bucket, or the directory to mount it on, is missing") }
      return .bucket(try BucketReference(parsing: bucket))
    }
    guard let bucket, !MountTarget.accountNames.contains(bucket) else { return .account }
    throw UsageError(
      "with --all every bucket is mounted whole: leave '\(bucket)' out, or mount that one without --all")
  }

  /// What is said about making buckets needs to be about an account.
  /// - Throws: for an option that would do nothing. A profile may have it for other mounts.
  func check(_ target: MountTarget, _ layers: [OptionLayer]) throws(UsageError) {
    guard target != .account else { return }
    for layer in layers where layer.origin.isTyped {
      for option in [MountOption.allowBucketChanges, .bucketTier] {
        guard let value = layer.values[option] else { continue }
        throw UsageError("\(value.spelledAs) is only for mounts with --all")
      }
    }
  }

  /// What the user said about the options, on the command line and in files.
  func layers(_ context: ProcessContext) throws(UsageError) -> [OptionLayer] {
    try OptionLayer.all(from: flags.layer(), flags.optionLists, context)
  }

  /// Reads every option and finds the credentials; asks nobody over the network and changes nothing.
  func plan(_ context: ProcessContext) throws(Failure) -> MountPlan {
    do {
      var layers = try layers(context)
      let target = try target(layers)
      // What the options say is checked first: it is what the user has just typed.
      let said = try MountSettings(target: target, mountPoint: mountPoint ?? "/", layers: layers, context: context)
      let credentials = try CredentialSearch(context, layers, controlPlane: said.controlPlane).find()
      if mountPoint != nil { try check(target, layers) }
      layers.append(try credentials.layer())
      let resolved =
        try mountPoint.map { path throws(Failure) in
          try MountPath.resolve(path, workingDirectory: context.workingDirectory, mounts: try .read())
        } ?? "/"
      return MountPlan(
        target: target, mountPoint: resolved, layers: layers, context: context, credentials: credentials,
        settings: try MountSettings(target: target, mountPoint: resolved, layers: layers, context: context))
    } catch let error as UsageError {
      throw Failure(error.message, remedy: "See 'waysfs mount --help'", exitCode: .usage)
    } catch let failure as Failure {
      throw failure
    } catch {
      throw Failure("\(error)")
    }
  }
}

extension OptionLayer {
  /// Everything that is said about options before anybody is asked: flags, `-o`, environment, configuration files.
  static func all(
    from flags: OptionLayer, _ optionLists: [String], _ context: ProcessContext
  ) throws(UsageError) -> [OptionLayer] {
    let typed = [flags, try OptionLayer(optionLists: optionLists), try OptionLayer(environment: context.environment)]
    let said = { (option: MountOption) in typed.lazy.compactMap { $0.values[option] }.first }
    let path = try said(.configurationFile).map { value throws(UsageError) in
      try OptionValue.path(value.text, relativeTo: context.workingDirectory)
    }
    let files = try ConfigurationFiles(path, context: context)
    return typed + (try files.layers(profile: said(.profile), home: context.home))
  }
}

extension FoundCredentials {
  /// What the AWS profile says about the server.
  func layer() throws(UsageError) -> OptionLayer {
    var layer = OptionLayer(.awsProfile)
    if let endpoint { try layer.set(.endpoint, to: endpoint, spelledAs: "endpoint_url of the AWS profile") }
    if let region { try layer.set(.region, to: region, spelledAs: "region of the AWS profile") }
    return layer
  }
}
