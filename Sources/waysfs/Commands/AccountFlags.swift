import ArgumentParser

/// The options of commands that only talk to the control plane; names and help come from the table.
struct AccountFlags: ParsableArguments {
  @Option(.apiURL) var apiURL: String?
  @Option(.apiKeyFile) var apiKeyFile: String?
  @Option(.caFile) var caFile: String?
  @Option(.profile) var profile: String?
  @Option(.configurationFile) var configurationFile: String?

  /// The account that they, the environment and the configuration name.
  func account(_ context: ProcessContext) throws(Failure) -> Account {
    let (layers, controlPlane, caFile) = try options(context)
    let search = CredentialSearch(context, layers, controlPlane: controlPlane)
    // Somebody is waiting: a control plane that does not answer is told of before a minute is over.
    return Account(
      apiKey: try search.findAPIKey().key, baseURL: controlPlane.description, caFile: caFile, attempts: 2)
  }

  private func options(_ context: ProcessContext) throws(Failure) -> ([OptionLayer], Endpoint, String?) {
    do throws(UsageError) {
      var flags = OptionLayer(.flag)
      let given: [(OptionSpelling, String?)] = [
        (.apiURL, apiURL), (.apiKeyFile, apiKeyFile), (.caFile, caFile), (.profile, profile),
        (.configurationFile, configurationFile),
      ]
      for (spelling, value) in given {
        guard let value else { continue }
        try flags.set(spelling.sets, to: value, spelledAs: "--\(spelling.name)")
      }
      let layers = try OptionLayer.all(from: flags, [], context)
      return (
        layers, try MountSettings.controlPlane(layers: layers),
        try MountSettings.caFile(layers: layers, context: context)
      )
    } catch {
      throw Failure(error.message, exitCode: .usage)
    }
  }
}
