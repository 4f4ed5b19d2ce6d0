from scoremix.cli import main

main()
