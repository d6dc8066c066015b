/// How mount(8), umount(8) and mount.fuse3(8) call this program.
///
///     mount.waysfs SOURCE DIRECTORY [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]      mount -t waysfs
///     mount.fuse.waysfs ...                                                            mount -t fuse.waysfs
///     umount.fuse.waysfs DIRECTORY [-nlfvr] [-N NAMESPACE] [-t TYPE]                   umount
///     waysfs SOURCE DIRECTORY -o OPTIONS                                               mount.fuse3, where there is no
///                                                                                      mount.fuse.waysfs
struct HelperCall: Hashable, Sendable {
  enum Action: Hashable, Sendable {
    case mount(source: String)
    case unmount
    case showHelp
    case showVersion
  }

  var action: Action
  /// As it was written.
  var directory = ""
  /// What followed each `-o`.
  var options: [String] = []
  /// `-s`: options that are not known are left out.
  var isSloppy = false
  /// `-f` of mount: everything but the mount itself.
  var isFake = false
  /// `-f` of umount: calls under way fail.
  var isForced = false
  /// `-l` of umount.
  var isLazy = false
  /// `-r` of umount: what cannot be unmounted is made read-only.
  var makesReadOnly = false
  var isVerbose = false
  /// A file that stands for the mount namespace to work in.
  var namespace: String?

  /// The program that was called for, by the name it was called with; nil when it is `waysfs` itself.
  static func program(_ path: String) -> Program? {
    switch path.split(separator: "/").last {
    case "mount.waysfs", "mount.fuse.waysfs": .mount
    case "umount.waysfs", "umount.fuse.waysfs": .unmount
    default: nil
    }
  }

  enum Program: Hashable, Sendable { case mount, unmount }
}

extension HelperCall {
  /// Reads an argument vector, the program's name included; nil when it is for the commands of `waysfs`.
  init?(_ arguments: [String]) throws(UsageError) {
    let rest = arguments.dropFirst()
    switch Self.program(arguments.first ?? "") {
    case .mount: try self.init(mount: rest)
    case .unmount: try self.init(unmount: rest)
    case nil:
      guard let call = Self(fromMountFuse: Array(rest)) else { return nil }
      self = call
    }
  }

  /// No command has two plain arguments and `-o` behind them, the second of them an absolute path. But a bucket may have
  /// been forgotten, as in `waysfs mount /mnt -o ro`: a bucket named as a command is, needs what mount.fuse3 says always.
  private init?(fromMountFuse arguments: [String]) {
    guard arguments.count == 4, arguments[2] == "-o", arguments[1].hasPrefix("/"), !arguments[0].hasPrefix("-"),
      !arguments[0].isEmpty
    else { return nil }
    let options = arguments[3].split(separator: ",")
    guard
      !Self.commands.contains(arguments[0])
        || [["dev", "nodev"], ["suid", "nosuid"]].allSatisfy({ !$0.filter(options.contains).isEmpty })
    else { return nil }
    self.init(
      action: .mount(source: arguments[0]), directory: arguments[1], options: [Self.withoutAdditions(arguments[3])])
  }

  private static var commands: [String] {
    ["help"] + Waysfs.configuration.subcommands.compactMap { $0.configuration.commandName }
  }

  /// mount.fuse3 adds `dev` and `suid` at the end where the options do not say the opposite. Nobody has asked for them;
  /// where somebody has, they are there twice.
  static func withoutAdditions(_ options: String) -> String {
    var rest = options[...]
    for added in ["suid", "dev"] {
      if rest == added { return "" }
      if rest.hasSuffix(",\(added)") { rest = rest.dropLast(added.utf8.count + 1) }
    }
    return String(rest)
  }

  private init(mount arguments: ArraySlice<String>) throws(UsageError) {
    self.init(action: .showHelp)
    guard let plain = try read(arguments, flags: "sfnvwr", for: .mount) else { return }
    guard plain.count == 2 else {
      throw UsageError(
        plain.count < 2 ? "a source and a directory are needed" : "'\(plain[2])' is one argument too many")
    }
    action = .mount(source: plain[0])
    directory = plain[1]
  }

  private init(unmount arguments: ArraySlice<String>) throws(UsageError) {
    self.init(action: .showHelp)
    guard let plain = try read(arguments, flags: "nlfvr", for: .unmount) else { return }
    guard plain.count == 1 else {
      throw UsageError(plain.isEmpty ? "a directory is needed" : "'\(plain[1])' is one argument too many")
    }
    action = .unmount
    directory = plain[0]
  }

  /// Takes note of the options; the other arguments, or nil when only help or the version is asked for.
  private mutating func read(
    _ arguments: ArraySlice<String>, flags: String, for program: Program
  ) throws(UsageError) -> [String]? {
    var plain: [String] = []
    var rest = arguments
    while let argument = rest.popFirst() {
      if argument == "--" { return plain + rest }
      if argument == "--help" { return nil }
      guard argument.hasPrefix("-"), argument != "-" else {
        plain.append(argument)
        continue
      }
      var letters = argument.dropFirst()
      while let letter = letters.popFirst() {
        switch letter {
        case "h": return nil
        case "V":
          action = .showVersion
          return nil
        case "o", "t", "N":
          // getopt(3): the value is what follows the letter, or else the next argument.
          guard let value = letters.isEmpty ? rest.popFirst() : String(letters) else {
            throw UsageError("-\(letter) needs a value")
          }
          try take(letter, value, for: program)
          letters = ""
        case _ where flags.contains(letter): take(letter, for: program)
        default: throw UsageError("unknown option -\(letter)")
        }
      }
    }
    return plain
  }

  private mutating func take(_ letter: Character, _ value: String, for program: Program) throws(UsageError) {
    switch letter {
    case "o" where program == .mount: options.append(value)
    case "N": namespace = value
    case "t" where value == "waysfs" || value == "fuse.waysfs": break
    case "t": throw UsageError("-t \(value) is another kind of file system")
    default: throw UsageError("unknown option -\(letter)")
    }
  }

  private mutating func take(_ letter: Character, for program: Program) {
    switch (letter, program) {
    case ("s", _): isSloppy = true
    case ("f", .mount): isFake = true
    case ("f", .unmount): isForced = true
    case ("l", _): isLazy = true
    case ("v", _): isVerbose = true
    case ("r", .mount): options.append("ro")
    case ("r", .unmount): makesReadOnly = true
    case ("w", _): options.append("rw")
    // -n: there is no /etc/mtab to write to.
    default: break
    }
  }
}
