import ArgumentParser
import Testing

@testable import waysfs

struct DocumentationTests {
  private func document(_ name: String) throws -> String {
    let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    guard case .text(let text, _) = readSmallFile("/\(root)/docs/\(name)") else {
      throw TestFailure("docs/\(name) cannot be read")
    }
    return text
  }

  private func manual() throws -> String { try document(ManualPage.program.rawValue) }

  @Test func theConfigurationDocumentIsThatOfTheTable() throws {
    #expect(try document("configuration.md") == OptionDocuments.configuration, "run 'make docs'")
  }

  @Test(arguments: ManualPage.allCases)
  func listsOfTheManualAreThoseOfTheTable(page: ManualPage) throws {
    let manual = try document(page.rawValue)
    let begin = try #require(manual.firstRange(of: ".\\\" BEGIN OPTIONS"))
    let start = try #require(manual[begin.upperBound...].firstIndex(of: "\n"))
    let end = try #require(manual.firstRange(of: ".\\\" END OPTIONS"))
    #expect(manual[manual.index(after: start)..<end.lowerBound] == OptionDocuments.list(for: page), "run 'make docs'")
  }

  @Test func everyOptionIsInTheHelp() throws {
    let help = Waysfs.helpMessage(for: MountCommand.self, columns: 10_000)
    for spelling in OptionSpelling.all {
      if case .value(let form) = spelling.argument {
        #expect(help.contains("--\(spelling.name) <\(form)>"), "\(spelling.name)")
      }
      #expect(help.contains("--\(spelling.name)"), "\(spelling.name)")
      #expect(help.contains(spelling.fullHelp), "\(spelling.name)")
    }
  }

  @Test func theManualKnowsNoOtherOption() throws {
    let known = Set(
      OptionSpelling.all.map(\.name) + [
        "lazy", "json", "upload", "export", "discard", "yes", "version", "help", "tier", "write",
        "watch", "prometheus",
      ])
    for line in try manual().split(separator: "\n") where line.hasPrefix(".It Fl Fl ") {
      let name = line.dropFirst(10).prefix { $0 != " " }
      #expect(known.contains(String(name)), "\(name)")
    }
  }

  @Test func defaultsInTheTableAreTheRealOnes() throws {
    let settings = try MountSettingsTests.settings()
    #expect(OptionSpelling.endpoint.defaultText == settings.endpoint.description)
    #expect(OptionSpelling.region.defaultText == settings.region)
    #expect(OptionSpelling.apiURL.defaultText == settings.controlPlane.description)
    #expect(OptionSpelling.writeMode.defaultText == settings.writeMode.rawValue)
    #expect(OptionSpelling.connections.defaultText == "\(settings.connections)")
    #expect(OptionSpelling.metadataLifetime.defaultText == "\(Int(settings.metadataLifetime))s")
    #expect(OptionSpelling.mountTimeout.defaultText == "\(Int(settings.mountTimeout))s")
    #expect(OptionSpelling.memoryLimit.defaultText?.hasPrefix("\(settings.memoryLimit >> 20)MiB, ") == true)
    #expect(OptionSpelling.logLevel.defaultText == settings.logLevel.rawValue)
  }

  @Test func exitCodesAreDocumented() throws {
    let manual = try manual()
    let help = Waysfs.helpMessage(columns: 10_000)
    for code in [waysfs.ExitStatus.success, .failed, .unfinishedUploads, .needsAttention, .usage] {
      #expect(manual.contains(".It \(code.rawValue)\n"))
      #expect(help.contains("\n  \(code.rawValue) "))
    }
  }

  @Test func everyCommandHasAnExample() {
    #expect(Waysfs.helpMessage(columns: 200).contains("EXAMPLES"))
    for command in Waysfs.configuration.subcommands {
      #expect(Waysfs.helpMessage(for: command, columns: 200).contains("EXAMPLES\n  waysfs "))
    }
  }
}
