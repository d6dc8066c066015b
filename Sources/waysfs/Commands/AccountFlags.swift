import ArgumentParser

/// The options of commands that only talk to the control plane; names and help come from the table.
struct AccountFlags: ParsableArguments {
  @Option(.apiURL) var apiURL: String?
  @Option(.apiKeyFile) var apiKeyFile: String?
  @Option(.profile) var profile: String?
  @Option(.configurationFile) var configurationFile: String?

  /// The account that they, the environment and the configuration name.
  func account(_ context: ProcessContext) throws(Failure) -> Account {
    let (layers, controlPlane) = try options(context)
    let search = CredentialSearch(context, layers, controlPlane: controlPlane)
    return Account(apiKey: try search.findAPIKey().key, baseURL: controlPlane.description)
  }

  private func options(_ context: ProcessContext) throws(Failure) -> ([OptionLayer], Endpoint) {
    do throws(UsageError) {
      var flags = OptionLayer(.flag)
      let given: [(OptionSpelling, String?)] = [
        (.apiURL, apiURL), (.apiKeyFile, apiKeyFile), (.profile, profile), (.configurationFile, configurationFile),
      ]
      for (spelling, value) in given {
        guard let value else { continue }
        try flags.set(spelling.sets, to: value, spelledAs: "--\(spelling.name)")
      }
      let layers = try OptionLayer.all(from: flags, [], context)
      return (layers, try MountSettings.controlPlane(layers: layers))
    } catch {
      throw Failure(error.message, exitCode: .usage)
    }
  }
}
