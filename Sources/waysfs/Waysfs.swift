@main struct Waysfs { static func main() {} }
