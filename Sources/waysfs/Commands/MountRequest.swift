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
    return ProcessContext(uid: geteuid(), gid: getegid(), workingDirectory: directory, environment: environment)
  }
}

/// A mount as it was asked for.
struct MountRequest {
  var bucket: String
  var mountPoint: String
  var flags: MountFlags

  /// Reads every option and finds the credentials; asks nobody over the network and changes nothing.
  func plan(_ context: ProcessContext) throws(Failure) -> MountPlan {
    do {
      let target = try BucketReference(parsing: bucket)
      var layers = [
        try flags.layer(), try OptionLayer(optionLists: flags.optionLists),
        try OptionLayer(environment: context.environment),
      ]
      // What the options say is checked first: it is what the user has just typed.
      _ = try MountSettings(target: target, mountPoint: mountPoint, layers: layers, context: context)
      let search = CredentialSearch(
        environment: context.environment, home: context.home, readFile: readSmallFile)
      let credentials = try search.find()
      layers.append(try credentials.layer())
      let mounts = MountTable.current()
      let resolved = try MountPath.resolve(mountPoint, workingDirectory: context.workingDirectory) { path in
        mounts.top(at: path) != nil
      }
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

extension FoundCredentials {
  /// What the AWS profile says about the server.
  func layer() throws(UsageError) -> OptionLayer {
    var layer = OptionLayer(.awsProfile)
    if let endpoint { try layer.set(.endpoint, to: endpoint, spelledAs: "endpoint_url of the AWS profile") }
    if let region { try layer.set(.region, to: region, spelledAs: "region of the AWS profile") }
    return layer
  }
}
