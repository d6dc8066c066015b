/// Where the value of an option came from, the strongest first.
enum OptionOrigin: String, CaseIterable, Sendable {
  case flag, optionList, environment, profile, awsProfile, controlPlane

  /// Whether the user has said it for this one command.
  var isTyped: Bool { self == .flag || self == .optionList }
}

/// What one source says about the options.
struct OptionLayer: Sendable {
  struct Value: Hashable, Sendable {
    let text: String
    /// How the user knows the setting, for error messages: `--umask`, `-o umask`, `AWS_REGION`.
    let spelledAs: String
  }

  let origin: OptionOrigin
  private(set) var values: [MountOption: Value] = [:]
  /// Flags for the kernel; only `-o` sets any.
  private(set) var kernelFlags: [KernelFlag: Bool] = [:]

  init(_ origin: OptionOrigin) { self.origin = origin }

  /// Sets an option; saying it twice is an error, unless the second says the same or `replacing` allows it.
  mutating func set(
    _ option: MountOption, to text: String, spelledAs: String, replacing: Bool = false
  ) throws(UsageError) {
    if let old = values[option], old.text != text, !replacing {
      throw UsageError(
        old.spelledAs == spelledAs
          ? "\(spelledAs) is given twice, with different values"
          : "\(old.spelledAs) and \(spelledAs) exclude each other")
    }
    values[option] = Value(text: text, spelledAs: spelledAs)
  }

  /// What the environment says. An empty variable counts as not set, as in the AWS tools.
  init(environment: [String: String]) throws(UsageError) {
    self.init(.environment)
    for spelling in OptionSpelling.all {
      for variable in spelling.environment {
        if let text = environment[variable], !text.isEmpty {
          try set(spelling.sets, to: text, spelledAs: variable)
          break
        }
      }
    }
  }

  /// What `-o` says; several `-o` are read as one list. As with mount(8) the last of several wins.
  init(optionLists: [String]) throws(UsageError) {
    self.init(.optionList)
    for text in optionLists { try take(list: text) }
  }

  /// Adds what stands in a list such as `-o` has.
  mutating func take(list text: String) throws(UsageError) {
    for item in try OptionList(parsing: text).items { try take(item) }
  }

  private mutating func take(_ item: OptionList.Item) throws(UsageError) {
    if let spelling = OptionSpelling.all.first(where: { $0.name == item.name && $0.inOptionList }) {
      let shown = "-o \(item.name)"
      switch (spelling.argument, item.value) {
      case (.none(let meaning), nil):
        try set(spelling.sets, to: meaning, spelledAs: shown, replacing: true)
      case (.none(let meaning), let value?):
        guard meaning == "yes" else { throw UsageError("\(shown) takes no value") }
        try set(spelling.sets, to: value, spelledAs: shown, replacing: true)
      case (.value(let form), nil):
        throw UsageError("\(shown) needs a value: \(item.name)=<\(form)>")
      case (.value, let value?):
        try set(spelling.sets, to: value, spelledAs: shown, replacing: true)
      }
      return
    }
    if GenericOption.isForUserspace(item.name) { return }
    guard let generic = GenericOption.all.first(where: { $0.name == item.name }) else {
      throw UsageError(Self.unknown(item.name))
    }
    switch generic.meaning {
    case .ignored: break
    case .sets(let option, let text): try set(option, to: text, spelledAs: "-o \(item.name)", replacing: true)
    case .kernel(let flag, let on): kernelFlags[flag] = on
    }
  }

  /// Whether `-o` takes an option of that name, in the table's form.
  static func knows(_ name: String) -> Bool {
    OptionSpelling.all.contains { $0.name == name && $0.inOptionList } || GenericOption.isForUserspace(name)
      || GenericOption.all.contains { $0.name == name }
  }

  /// Whether it means nothing to a mount that `-o` has an option of that name.
  static func ignores(_ name: String) -> Bool {
    GenericOption.isForUserspace(name) || GenericOption.all.contains { $0.name == name && $0.meaning == .ignored }
  }

  private static func unknown(_ name: String) -> String {
    if OptionSpelling.all.contains(where: { $0.name == name }) {
      return "--\(name) cannot be given with -o"
    }
    let known = OptionSpelling.all.filter(\.inOptionList).map(\.name) + GenericOption.all.map(\.name)
    guard let nearest = nearestName(to: name, among: known) else {
      return "-o: unknown option '\(name)'"
    }
    // "_netdev" is the one well-known name that begins with an underscore.
    let shown = nearest.hasPrefix("-") ? "_" + nearest.dropFirst() : nearest
    return "-o: unknown option '\(name)'; did you mean '\(shown)'?"
  }
}
