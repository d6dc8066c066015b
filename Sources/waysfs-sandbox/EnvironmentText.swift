/// The lines that make a shell use this sandbox.
struct EnvironmentText: Equatable {
  var variables: [(name: String, value: String)]

  static func == (left: Self, right: Self) -> Bool { left.text == right.text }

  var text: String {
    variables.map { "export \($0.name)=\(Self.quoted($0.value))\n" }.joined()
  }

  /// Quotes for a POSIX shell where it needs to be.
  static func quoted(_ value: String) -> String {
    let plain = value.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "-"), UInt8(ascii: "."),
        UInt8(ascii: "_"), UInt8(ascii: ":"):
        true
      default: false
      }
    }
    if plain, !value.isEmpty { return value }
    return "'" + value.split(separator: "'", omittingEmptySubsequences: false).joined(separator: #"'\''"#) + "'"
  }
}
