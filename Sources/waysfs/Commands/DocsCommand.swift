import ArgumentParser
import Glibc

/// Prints documents that come from the table of options; `make docs` writes them into the repository.
struct DocsCommand: ParsableCommand {
  private static let configurationDocument = "configuration.md"
  private static let documents = [configurationDocument] + ManualPage.allCases.map(\.rawValue)

  static let configuration = CommandConfiguration(
    commandName: "docs", abstract: "Print a document that is made from the table of options.",
    discussion: """
      EXAMPLES
        waysfs docs configuration.md > docs/configuration.md
      """, shouldDisplay: false)

  @Argument(
    help: ArgumentHelp("Of a manual page, the list of options is printed.", valueName: "document"),
    completion: .list(documents))
  var document: String

  func validate() throws {
    guard Self.documents.contains(document) else {
      throw ValidationError("the documents are \(Self.documents.joined(separator: ", "))")
    }
  }

  func run() throws {
    let text = ManualPage(rawValue: document).map(OptionDocuments.list) ?? OptionDocuments.configuration
    do { try printOutput(text) } catch { throw CommandEnd(error, doing: "cannot print \(document)") }
  }
}
