import ArgumentParser
import Glibc

/// Prints documents that come from the table of options; `make docs` writes them into the repository.
struct DocsCommand: ParsableCommand {
  enum Document: String, ExpressibleByArgument, CaseIterable {
    case configuration, manual
  }

  static let configuration = CommandConfiguration(
    commandName: "docs", abstract: "Print a document that is made from the table of options.",
    discussion: """
      EXAMPLES
        waysfs docs configuration > docs/configuration.md
      """, shouldDisplay: false)

  @Argument(help: "configuration, or manual for the option list of the manual page.")
  var document: Document

  func run() {
    let text =
      switch document {
      case .configuration: OptionDocuments.configuration
      case .manual: OptionDocuments.manual
      }
    writeAll(STDOUT_FILENO, Array(text.utf8))
  }
}
