from nanov2t.cli import main

main()
