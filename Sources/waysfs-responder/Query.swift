/// The query of a request, decoded.
struct Query: Equatable, Sendable {
  private struct Item: Equatable {
    var name: [UInt8]
    var value: [UInt8]
  }

  private var items: [Item] = []

  init(_ text: some Collection<UInt8>) throws(Refusal) {
    for part in text.split(separator: UInt8(ascii: "&")) {
      let name = part.prefix { $0 != UInt8(ascii: "=") }
      guard let decodedName = PercentCoding.decode(name, plusIsSpace: true),
        let value = PercentCoding.decode(part.dropFirst(name.count + 1), plusIsSpace: true)
      else { throw .invalidArgument("The query is not well encoded.") }
      items.append(Item(name: decodedName, value: value))
    }
  }

  func has(_ name: String) -> Bool { bytes(name) != nil }

  func bytes(_ name: String) -> [UInt8]? {
    items.first { $0.name.elementsEqual(name.utf8) }?.value
  }

  subscript(_ name: String) -> String? {
    bytes(name).map { String(decoding: $0, as: UTF8.self) }
  }

  /// A number from 0 on; nil when it is not there.
  func number(_ name: String) throws(Refusal) -> Int? {
    guard let text = self[name], !text.isEmpty else { return nil }
    guard let number = Int(text), number >= 0 else { throw .invalidArgument("\(name) is not a number.") }
    return number
  }

  var names: some Sequence<String> { items.lazy.map { String(decoding: $0.name, as: UTF8.self) } }
}
