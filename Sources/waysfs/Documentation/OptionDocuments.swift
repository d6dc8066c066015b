/// A manual page with a list of options: a file in docs, with marks around the list.
enum ManualPage: String, CaseIterable, Sendable {
  case program = "waysfs.1"
  case mountHelper = "mount.waysfs.8"
  case configurationFile = "waysfs.conf.5"

  /// Whether the page is about options of that kind.
  func takes(_ spelling: OptionSpelling) -> Bool {
    switch self {
    case .program: true
    case .mountHelper: spelling.inOptionList
    case .configurationFile: spelling.inFile
    }
  }

  /// How the option is written there, in mdoc(7).
  func head(_ spelling: OptionSpelling) -> String {
    switch (self, spelling.argument) {
    case (.program, .none): "Fl Fl \(spelling.name)"
    case (.program, .value(let form)): "Fl Fl \(spelling.name) Ar \(form)"
    case (.mountHelper, .none): "Cm \(spelling.name)"
    case (.mountHelper, .value(let form)): "Cm \(spelling.name) Ns = Ns Ar \(form)"
    case (.configurationFile, .none): "Cm \(spelling.name) No = Cm yes"
    case (.configurationFile, .value(let form)): "Cm \(spelling.name) No = Ar \(form)"
    }
  }
}

/// The documents that come from the table of options.
enum OptionDocuments {
  /// docs/configuration.md
  static var configuration: String {
    """
    # Configuration

    <!-- Made by `make docs` from the table of options in the source; changes made here are lost. -->

    An option can be said in five places. The first that says it counts:

    1. a flag, `--metadata-ttl 30s`
    2. `-o metadata-ttl=30s`, as in /etc/fstab; `_` is the same as `-`
    3. an environment variable, for the options that have one
    4. a profile of the configuration file: of `~/.config/waysfs/config` (or `$XDG_CONFIG_HOME/waysfs/config`), then of
       `/etc/waysfs/config`
    5. the default

    Between 4 and 5 come, for the endpoint and the region only, the AWS profile that the key pair was taken from, and what
    the control plane says. `waysfs config` shows what counts, and from where.

    ## The file

    ```ini
    # What holds for every mount.
    [default]
    metadata-ttl = 30s
    api-key-file = ~/.config/waysfs/api-key

    # waysfs mount --profile archive BUCKET MOUNTPOINT
    [archive]
    endpoint = https://s3.example.com
    region = eu-central-1
    credentials-file = archive-keys
    read-only = yes
    options = noatime,noexec
    ```

    - `[name]` begins a profile: letters, digits, `.`, `_` and `-`. `[default]` holds for every mount, and a profile named
      with `--profile` or `WAYSFS_PROFILE` comes before it. A profile that is named must be there.
    - `name = value` sets an option. The names are those of the flags, without the hyphens in front. Options without a value
      are set with `yes` and `no`.
    - `options` takes what follows `-o`, such as `noatime`.
    - A comment is a line of its own that begins with `#` or `;`. A value goes to the end of the line; in double quotes it
      may begin and end with blanks.
    - A path may begin with `~/`. A relative one counts from the directory of the file.
    - Secrets are not written into this file: it names the files that have them, and those only their owner may read.
    - A line that cannot be understood is an error with its number, also in profiles that are not used, and so is an unknown
      name, with the known one that is nearest. Values are read where they are used. A file that everybody may write to is
      refused.

    ## Credentials

    The places 1 to 4 above are looked through for credentials as well, and the first that has any counts. Where one place
    has several, they count in this order:

    1. a key pair: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary keys, `AWS_SESSION_TOKEN`
    2. a file with a key pair: `credentials-file`
    3. an API key: `WAYSCLOUD_API_KEY`, or a file: `api-key-file`; the control plane hands out a key pair for it, and another
       when the server refuses that one
    4. what systemd hands over (`LoadCredential=`): the files `wayscloud-api-key` and `aws-credentials` in
       `$CREDENTIALS_DIRECTORY`
    5. a profile of `~/.aws/credentials` or `~/.aws/config`: `aws-profile`

    The last resort is the profile `default` of the AWS files. A file whose secret everybody may read or write is refused.
    Secrets are never given on the command line.

    ## Options

    | option | value | default | environment | what it does |
    |---|---|---|---|---|
    \(OptionSpelling.all.map(row).joined(separator: "\n"))

    A size is a number of bytes, or has a unit: K, M, G and T count in powers of 1024, KB, MB, GB and TB in powers of 1000. A
    time is in seconds, or has a unit: ms, s, m, h, d.

    """
  }

  private static func row(_ spelling: OptionSpelling) -> String {
    let value =
      switch spelling.argument {
      case .none: "yes"
      case .value(let form): form
      }
    let limits = [spelling.inOptionList ? nil : "not with `-o`", spelling.inFile ? nil : "not in a file"]
    let name = (["`\(spelling.name)`"] + limits.compactMap { $0.map { "(\($0))" } }).joined(separator: " ")
    let variables = spelling.environment.map { "`\($0)`" }.joined(separator: ", ")
    let text = [spelling.help, spelling.details].filter { !$0.isEmpty }.joined(separator: " ")
    let cells = [name, value, spelling.defaultText ?? "", variables, text]
    return "| \(cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ")) |"
  }

  /// The option list of a manual page, in mdoc(7).
  static func list(for page: ManualPage) -> String {
    let items = OptionSpelling.all.filter(page.takes).map { item($0, page) }.joined()
    return page == .mountHelper ? items + genericOptions : items
  }

  private static func item(_ spelling: OptionSpelling, _ page: ManualPage) -> String {
    var lines = [".It \(page.head(spelling))"]
    var sentences = [spelling.help, spelling.details].filter { !$0.isEmpty }
    if let text = spelling.defaultText { sentences.append("Default: \(text).") }
    lines += sentences.flatMap(mdoc)
    if !spelling.environment.isEmpty {
      lines += ["Also from", ".Ev \(spelling.environment.joined(separator: " , ")) ."]
    }
    if page == .program, !spelling.inFile { lines.append("Not in a configuration file.") }
    return lines.map { "\($0)\n" }.joined()
  }

  /// What mount(8) and fstab have besides.
  private static var genericOptions: String {
    let (ignored, heeded) = (
      GenericOption.all.filter { $0.meaning == .ignored }, GenericOption.all.filter { $0.meaning != .ignored }
    )
    // "_netdev" and its like are the well-known names that begin with an underscore.
    let names = { (options: [GenericOption]) in
      options.map { $0.name.hasPrefix("-") ? "_\($0.name.dropFirst())" : $0.name }.joined(separator: " , ")
    }
    return """
      .It Cm \(names(heeded))
      As in
      .Xr mount 8 .
      .It Cm \(names(ignored)) , x-*
      For
      .Xr mount 8
      and
      .Xr systemd.mount 5 ;
      ignored here.

      """
  }

  /// One sentence a line, as manual pages have it, with what troff would take for its own hidden.
  private static func mdoc(_ text: String) -> [String] {
    var lines: [String] = []
    var rest = text[...]
    while let end = rest.firstRange(of: ". ") {
      lines.append(String(rest[..<rest.index(after: end.lowerBound)]))
      rest = rest[end.upperBound...]
    }
    lines.append(String(rest))
    return lines.map { line in
      let safe = line.replacing("\\", with: "\\e")
      return safe.hasPrefix(".") || safe.hasPrefix("'") ? "\\&\(safe)" : safe
    }
  }
}
