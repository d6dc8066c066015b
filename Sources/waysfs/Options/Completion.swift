import ArgumentParser
import Filesystem
import FuseSession

/// What a shell offers when Tab is pressed. Nothing here asks a server: a shell must not wait for the network.
extension OptionSpelling {
  /// For the value of the option.
  var completion: CompletionKind {
    switch sets {
    case .cacheDirectory: .directory
    case .caFile, .logFile, .configurationFile, .apiKeyFile, .credentialsFile: .file()
    case .writeMode: .list(WriteMode.allCases.map(\.rawValue))
    case .attributes: .list(AttributesMode.allCases.map(\.rawValue))
    case .passthrough: .list(PassthroughMode.allCases.map(\.rawValue))
    case .logLevel: .list(LogLevelName.all)
    case .profile: .custom { _, _, _ in Completion.profiles(.current()) }
    default: .default
    }
  }
}

enum Completion {
  /// The mount points of waysfs.
  static let mountPoints = CompletionKind.custom { _, _, _ in
    (try? MountTable.read()).map(Completion.mountPoints) ?? []
  }

  /// Of a mount table; each once, also where mounts lie on one another.
  static func mountPoints(_ table: MountTable) -> [String] {
    Set(table.entries.filter(\.isWaysfs).map(\.mountpoint)).sorted()
  }

  /// The profiles of the configuration files; none where these cannot be read.
  static func profiles(_ context: ProcessContext) -> [String] {
    let named = context.environment["WAYSFS_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
    guard let files = try? ConfigurationFiles(named, context: context).files else { return [] }
    return Set(files.flatMap(\.profiles.keys)).subtracting(["default"]).sorted()
  }
}
