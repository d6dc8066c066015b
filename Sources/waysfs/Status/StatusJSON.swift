import FoundationEssentials

/// Reports as JSON: the same over the control socket and for the user.
enum StatusJSON {
  static func encode(_ value: some Encodable, pretty: Bool = false) -> Result<[UInt8], Failure> {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting =
      pretty ? [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes] : .withoutEscapingSlashes
    // Nothing measured is infinite; should it ever be, it must not cost the rest.
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    do {
      return .success(Array(try encoder.encode(value)))
    } catch {
      return .failure(Failure("the report cannot be written as JSON: \(error)"))
    }
  }

  static func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) -> Result<Value, Failure> {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    do {
      return .success(try decoder.decode(type, from: Data(bytes)))
    } catch {
      return .failure(Failure("the answer cannot be understood"))
    }
  }
}

extension MountStatus: Codable {
  private enum CodingKeys: String, CodingKey {
    case version, pid, mountPoint, source, started, uptimeSeconds, logLevel, isFinishing
  }

  init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    version = try values.decode(String.self, forKey: .version)
    pid = try values.decode(Int32.self, forKey: .pid)
    mountPoint = try values.decode(String.self, forKey: .mountPoint)
    source = try values.decode(String.self, forKey: .source)
    started = try values.decode(String.self, forKey: .started)
    uptimeSeconds = try values.decode(Double.self, forKey: .uptimeSeconds)
    logLevel = try values.decode(String.self, forKey: .logLevel)
    isFinishing = try values.decode(Bool.self, forKey: .isFinishing)
    report = try MountReport(from: decoder)
  }

  /// The report's members stand beside its own.
  func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: CodingKeys.self)
    try values.encode(version, forKey: .version)
    try values.encode(pid, forKey: .pid)
    try values.encode(mountPoint, forKey: .mountPoint)
    try values.encode(source, forKey: .source)
    try values.encode(started, forKey: .started)
    try values.encode(uptimeSeconds, forKey: .uptimeSeconds)
    try values.encode(logLevel, forKey: .logLevel)
    try values.encode(isFinishing, forKey: .isFinishing)
    try report.encode(to: encoder)
  }
}
