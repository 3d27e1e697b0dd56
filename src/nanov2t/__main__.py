from nanov2t.cli.main import main

main()
