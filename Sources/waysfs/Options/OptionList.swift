/// The text after `-o`, split: `name`, `name=value`, `name="a,b"`, separated by commas.
///
/// A value may stand in double quotes and then contain commas; a backslash before `"`, `,` or `\` takes its meaning
/// away, inside quotes and outside. Other backslashes are themselves. Empty items (`a,,b`) are allowed, as in fstab.
struct OptionList: Hashable, Sendable {
  struct Item: Hashable, Sendable {
    /// The name in the table's form: `_` became `-`.
    let name: String
    /// What stands after `=`, unquoted; nil without `=`.
    let value: String?
  }

  let items: [Item]

  init(parsing text: String) throws(UsageError) {
    var items: [Item] = []
    for raw in try Self.split(text) where !raw.isEmpty {
      let name: Substring
      let value: String?
      if let equals = raw.utf8.firstIndex(of: UInt8(ascii: "=")) {
        name = raw[..<equals]
        value = String(raw[raw.index(after: equals)...])
      } else {
        name = raw[...]
        value = nil
      }
      guard !name.isEmpty else { throw UsageError("-o: '\(raw)' has no option name before '='") }
      items.append(Item(name: Self.normalised(name), value: value))
    }
    self.items = items
  }

  /// A list that is read as these items.
  static func text(_ items: some Sequence<Item>) -> String {
    items.map { item in item.value.map { "\(item.name)=\(escaped($0))" } ?? item.name }.joined(separator: ",")
  }

  private static func escaped(_ value: String) -> String {
    var escaped = ""
    for scalar in value.unicodeScalars {
      if scalar == "\\" || scalar == "\"" || scalar == "," { escaped.unicodeScalars.append("\\") }
      escaped.unicodeScalars.append(scalar)
    }
    return escaped
  }

  /// The table's form of a name.
  static func normalised(_ name: some StringProtocol) -> String {
    String(name.map { $0 == "_" ? "-" : $0 })
  }

  private static func split(_ text: String) throws(UsageError) -> [String] {
    var items: [String] = []
    var current: [UInt8] = []
    var quoted = false
    var bytes = text.utf8.makeIterator()
    var pending = bytes.next()
    while let byte = pending {
      pending = bytes.next()
      switch byte {
      case UInt8(ascii: "\\"):
        if let next = pending, [UInt8(ascii: "\""), UInt8(ascii: ","), UInt8(ascii: "\\")].contains(next) {
          current.append(next)
          pending = bytes.next()
        } else {
          current.append(byte)
        }
      case UInt8(ascii: "\""):
        quoted.toggle()
      case UInt8(ascii: ",") where !quoted:
        items.append(String(decoding: current, as: UTF8.self))
        current = []
      default:
        current.append(byte)
      }
    }
    guard !quoted else { throw UsageError("-o: a double quote is not closed in '\(text)'") }
    items.append(String(decoding: current, as: UTF8.self))
    return items
  }
}
