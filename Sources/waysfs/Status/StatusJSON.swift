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
    case version, pid, mountPoint, source, started, startedSeconds, uptimeSeconds, logLevel, state, isFinishing
    case activity, endpoint
  }

  init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    version = try values.decode(String.self, forKey: .version)
    pid = try values.decode(Int32.self, forKey: .pid)
    mountPoint = try values.decode(String.self, forKey: .mountPoint)
    source = try values.decode(String.self, forKey: .source)
    started = try values.decode(String.self, forKey: .started)
    startedSeconds = try values.decodeIfPresent(Double.self, forKey: .startedSeconds)
    uptimeSeconds = try values.decode(Double.self, forKey: .uptimeSeconds)
    logLevel = try values.decode(String.self, forKey: .logLevel)
    // A process that was started before its program was upgraded does not know of `state`.
    let isFinishing = try values.decode(Bool.self, forKey: .isFinishing)
    phase = try values.decodeIfPresent(MountPhase.self, forKey: .state) ?? (isFinishing ? .finishing : .serving)
    activity = try values.decodeIfPresent(String.self, forKey: .activity)
    report = values.contains(.endpoint) ? try MountReport(from: decoder) : nil
  }

  /// The report's members stand beside its own.
  func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: CodingKeys.self)
    try values.encode(version, forKey: .version)
    try values.encode(pid, forKey: .pid)
    try values.encode(mountPoint, forKey: .mountPoint)
    try values.encode(source, forKey: .source)
    try values.encode(started, forKey: .started)
    try values.encodeIfPresent(startedSeconds, forKey: .startedSeconds)
    try values.encode(uptimeSeconds, forKey: .uptimeSeconds)
    try values.encode(logLevel, forKey: .logLevel)
    try values.encode(phase, forKey: .state)
    try values.encode(phase == .finishing, forKey: .isFinishing)
    try values.encodeIfPresent(activity, forKey: .activity)
    try report?.encode(to: encoder)
  }
}
