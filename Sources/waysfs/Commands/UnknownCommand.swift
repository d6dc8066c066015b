import ArgumentParser

/// A word that stands where a command is expected and is none: the parser only counts it as one argument too many.
struct UnknownCommand: Equatable {
  /// What precedes it: `waysfs`, or `waysfs buckets`.
  let above: String
  let word: String
  /// The command that was most likely meant.
  let nearest: String?

  /// The first such word; nil when all are commands, or an option comes first, which the parser knows more about.
  static func first(in arguments: some Sequence<String>, below root: any ParsableCommand.Type) -> UnknownCommand? {
    var command = root
    var above: [String] = []
    for word in arguments {
      above.append(command.configuration.commandName ?? "")
      let known = command.configuration.subcommands
      guard !known.isEmpty, !word.hasPrefix("-"), word != "help" else { return nil }
      guard let next = known.first(where: { $0.configuration.commandName == word }) else {
        let names = known.filter { $0.configuration.shouldDisplay }.compactMap { $0.configuration.commandName }
        return UnknownCommand(
          above: above.joined(separator: " "), word: word, nearest: nearestName(to: word, among: names))
      }
      command = next
    }
    return nil
  }

  /// For standard error.
  var line: String {
    let hint = nearest.map { "; did you mean '\($0)'?" } ?? "."
    return "waysfs: there is no command '\(LineFormat.escaped(word))'\(hint) '\(above) --help' shows all."
  }
}
