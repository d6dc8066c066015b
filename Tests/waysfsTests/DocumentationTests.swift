import ArgumentParser
import Testing

@testable import waysfs

struct DocumentationTests {
  private func manual() throws -> String {
    let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    guard case .text(let text) = readSmallFile("/\(root)/docs/waysfs.1") else {
      throw TestFailure("docs/waysfs.1 cannot be read")
    }
    return text
  }

  /// The words of one option: from its heading to the next.
  private func section(_ name: String, in manual: String) throws -> Substring {
    let heading = ".It Fl Fl \(name)"
    let start = try #require(
      manual.split(separator: "\n").firstIndex { $0 == heading || $0.hasPrefix("\(heading) ") }, "\(name) is missing")
    let rest = manual.split(separator: "\n")[start...]
    let end = rest.dropFirst().firstIndex { $0.hasPrefix(".It ") || $0 == ".El" } ?? rest.endIndex
    return Substring(rest[start..<end].joined(separator: "\n"))
  }

  @Test func everyOptionIsInTheManualAndTheHelp() throws {
    let manual = try manual()
    let help = Waysfs.helpMessage(for: MountCommand.self, columns: 10_000)
    for spelling in OptionSpelling.all {
      let section = try section(spelling.name, in: manual)
      if case .value(let form) = spelling.argument {
        #expect(section.contains("\(spelling.name) Ar \(form)"), "\(spelling.name)")
        #expect(help.contains("--\(spelling.name) <\(form)>"), "\(spelling.name)")
      }
      #expect(help.contains("--\(spelling.name)"), "\(spelling.name)")
      #expect(help.contains(spelling.fullHelp), "\(spelling.name)")
      for variable in spelling.environment { #expect(manual.contains(variable), "\(variable)") }
      // The short defaults are the ones that change.
      if let text = spelling.defaultText, text.utf8.count <= 6 {
        #expect(section.contains("Default: \(text)."), "\(spelling.name)")
      }
    }
  }

  @Test func theManualKnowsNoOtherOption() throws {
    let known = Set(
      OptionSpelling.all.map(\.name) + ["lazy", "json", "upload", "export", "discard", "yes", "version", "help"])
    for line in try manual().split(separator: "\n") where line.hasPrefix(".It Fl Fl ") {
      let name = line.dropFirst(10).prefix { $0 != " " }
      #expect(known.contains(String(name)), "\(name)")
    }
  }

  @Test func defaultsInTheTableAreTheRealOnes() throws {
    let settings = try MountSettingsTests.settings()
    #expect(OptionSpelling.endpoint.defaultText == settings.endpoint.description)
    #expect(OptionSpelling.region.defaultText == settings.region)
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
    for code in [waysfs.ExitStatus.success, .failed, .unfinishedUploads, .usage] {
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
